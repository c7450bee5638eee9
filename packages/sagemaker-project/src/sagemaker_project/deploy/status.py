"""`deploy-model status` and `deploy-model history`: what serves, and how that came about."""

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.drift import differences
from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.look import look_at_stage, read_ledger
from sagemaker_project.deploy.recovery import missing_config, recovery


def status(context: Context) -> Members:
    """Return what serves, and whether it was changed by hand."""
    target, state = context.target, look_at_stage(context)
    endpoint, current, pending = state.endpoint, state.ledger.current, state.pending
    if endpoint is None:
        message = f"{target.endpoint} does not exist: nothing is deployed to {target.stage}"
        return {"Outcome": "Absent", "Message": message, "EndpointName": target.endpoint}
    alarms = context.aws.alarms(target.config.alarms)
    version = current["ModelPackageVersion"] if current else "unknown"
    return {
        "Outcome": state.status,
        "Message": f"{target.endpoint} is {state.status} with version {version}",
        "EndpointName": target.endpoint,
        "EndpointConfigName": state.live,
        "Current": current,
        "RollbackTarget": state.ledger.rollback_target,
        "Pending": {k: pending[k] for k in ("Action", "Time", "By")} if pending else None,
        "FailureReason": endpoint.get("FailureReason", ""),
        "Variants": [_variant(variant) for variant in endpoint.get("ProductionVariants", [])],
        "Alarms": {
            name: alarms[name]["StateValue"] if name in alarms else "does not exist"
            for name in target.config.alarms
        },
        "Drift": differences(state),
        "Recovery": _recovery(state),
    }


def _variant(variant: Members) -> Members:
    return {
        "VariantName": variant["VariantName"],
        "Weight": variant.get("CurrentWeight"),
        "InstanceCount": variant.get("CurrentInstanceCount"),
        "Images": [image.get("ResolvedImage") for image in variant.get("DeployedImages", [])],
    }


def _recovery(state: State) -> str:
    if state.needs_person:
        return recovery(state.target, state.status, state.ledger)
    return missing_config(state)


def history(context: Context) -> Members:
    """Return what happened to the stage, a row for each entry of its ledger."""
    rows = [_row(entry) for entry in read_ledger(context.aws, context.target).entries]
    message = f"{len(rows)} entries, each follows the one before it unchanged"
    return {"Outcome": "Read", "Message": message, "Entries": rows}


def _row(entry: Members) -> Members:
    about = entry.get("Deployment") or entry.get("Test") or {}
    note = entry.get("Test", {}).get("Status") or entry.get("Reason", "")
    deleted = sum(len(names) for names in entry.get("Deleted", {}).values())
    return {
        "Number": entry["Number"],
        "Time": entry["Time"],
        "Kind": entry["Kind"],
        "Action": entry.get("Action", ""),
        "Version": about.get("ModelPackageArn", "").rpartition("/")[2],
        "EndpointConfigName": about.get("EndpointConfigName", ""),
        "By": entry["By"],
        "ApprovedBy": (about.get("Approval") or {}).get("By", ""),
        "GitCommit": about.get("GitCommit", ""),
        "Note": note or (f"{deleted} resources deleted" if deleted else ""),
    }
