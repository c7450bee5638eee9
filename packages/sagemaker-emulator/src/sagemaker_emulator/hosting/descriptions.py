"""How an endpoint is described, by DescribeEndpoint and in events."""

from sagemaker_emulator.api.documents import Answer, Document
from sagemaker_emulator.hosting.deployment_config import instances


def described(document: Document) -> Answer:
    """Return an endpoint as DescribeEndpoint shows it."""
    live, wanted = document.get("Live"), document.get("Next")
    answer = dict(document)
    shown = live or wanted or {}
    if live:
        answer["ProductionVariants"] = [_summary(v) for v in live["Variants"]]
        if live["Shadows"]:
            answer["ShadowProductionVariants"] = [_summary(v) for v in live["Shadows"]]
    if live and wanted:
        answer["PendingDeploymentSummary"] = _pending(wanted, document.get("Stage"))
    if capture := shown.get("DataCaptureConfig"):
        on = capture.get("EnableCapture", True)
        answer["DataCaptureConfig"] = capture | {
            "EnableCapture": bool(on),
            "CaptureStatus": "Started" if on else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "KmsKeyId": capture.get("KmsKeyId") or "",
        }
    if shown.get("AsyncInferenceConfig"):
        answer["AsyncInferenceConfig"] = shown["AsyncInferenceConfig"]
    return answer


def _summary(variant: Document) -> Document:
    summary = _common(variant)
    summary["DesiredWeight"] = variant.get("DesiredWeight", variant["Weight"])
    if serverless := variant["Serverless"]:
        summary["CurrentServerlessConfig"] = serverless
        summary["DesiredServerlessConfig"] = variant.get("DesiredServerless", serverless)
        return summary | {"CurrentInstanceCount": 0, "DesiredInstanceCount": 0}
    wanted = variant.get("DesiredCount", variant["Count"])
    if wanted != variant["Count"]:
        message = f"Scaling desired instance count to {wanted}."
        summary["VariantStatus"] = [{"Status": "Updating", "StatusMessage": message}]
    return summary | {"CurrentInstanceCount": variant["Count"], "DesiredInstanceCount": wanted}


def _common(variant: Document) -> Document:
    image = {
        "SpecifiedImage": variant["Image"],
        "ResolvedImage": variant["ResolvedImage"],
        "ResolutionTime": variant["ResolutionTime"],
    }
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [image],
        "CurrentWeight": variant["Weight"],
        "DesiredWeight": variant["Weight"],
        "RoutingConfig": variant.get("RoutingConfig"),
    }


def _pending(wanted: Document, stage: Document | None) -> Document:
    stage = stage or {"Status": "Creating", "Share": 0.0}
    summary = {
        "EndpointConfigName": wanted["EndpointConfigName"],
        "StartTime": stage.get("StartTime"),
        "ProductionVariants": [_pending_variant(v, stage) for v in wanted["Variants"]],
    }
    if wanted["Shadows"]:
        shadows = [_pending_variant(v, stage) for v in wanted["Shadows"]]
        summary["ShadowProductionVariants"] = shadows
    return summary


def _pending_variant(variant: Document, stage: Document) -> Document:
    status = {k: v for k, v in stage.items() if k != "Share"}
    summary = _common(variant) | {"VariantStatus": [status]}
    if variant["Serverless"]:
        return summary | {"DesiredServerlessConfig": variant["Serverless"]}
    return summary | {
        "InstanceType": variant["InstanceType"],
        "CurrentInstanceCount": instances(variant["Count"], stage["Share"]),
        "DesiredInstanceCount": variant["Count"],
    }


def event_detail(document: Document) -> Document:
    """Return the detail of an event: what a description shows, with times in milliseconds."""
    members = ("EndpointName", "EndpointArn", "EndpointConfigName", "FailureReason")
    detail = {name: document[name] for name in members if name in document}
    status = document["EndpointStatus"]
    detail["EndpointStatus"] = "".join(
        f"_{c}" if c.isupper() and n else c for n, c in enumerate(status)
    ).upper()
    for name in ("CreationTime", "LastModifiedTime"):
        detail[name] = int(document[name] * 1000)
    answer = described(document)
    for name in ("ProductionVariants", "PendingDeploymentSummary"):
        if name in answer:
            detail[name] = answer[name]
    detail["Tags"] = {tag["Key"]: tag["Value"] for tag in document.get("Tags") or []}
    return detail
