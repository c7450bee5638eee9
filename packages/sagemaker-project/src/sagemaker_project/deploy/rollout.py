"""How far an update of an endpoint has come: what DescribeEndpoint says of it, with its end. Pure.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_PendingDeploymentSummary.html
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.evidence import is_of
from sagemaker_project.deploy.observation import Observation
from sagemaker_project.deploy.promotion import described


def rollout(seen: Observation) -> Members | None:
    """Return the progress of the update in progress, as --json prints it; None without one."""
    summary = seen.endpoint.get("PendingDeploymentSummary") if seen.endpoint else None
    if not summary:
        return None
    policy = _policy(seen, summary["EndpointConfigName"])
    becomes = seen.ledger.deployed(summary["EndpointConfigName"])
    began = summary.get("StartTime") or (seen.endpoint or {}).get("LastModifiedTime")
    next_step = max(_next_steps(summary, policy), default=None)
    limit = _settings(policy).get("MaximumExecutionTimeoutInSeconds")
    latest = began + timedelta(seconds=limit) if began and limit else None
    return {
        "EndpointConfigName": summary["EndpointConfigName"],
        "ModelPackageArn": becomes["ModelPackageArn"] if becomes else "",
        "Policy": described(policy),
        "StartTime": began,
        "Variants": [_variant(variant) for variant in summary.get("ProductionVariants", [])],
        "NextStepTime": next_step,
        "EndsBefore": latest,
    }


def _policy(seen: Observation, becomes: str) -> Members:
    """Return the DeploymentConfig of the update: as SageMaker has it, else the settings' own."""
    policy: Members = (seen.endpoint or {}).get("LastDeploymentConfig") or {}
    if not policy and seen.pending and is_of(seen.pending["Deployment"], becomes):
        policy = seen.target.config.deployment
    return policy


def _settings(policy: Members) -> Members:
    found: Members = policy.get("RollingUpdatePolicy") or policy.get("BlueGreenUpdatePolicy") or {}
    return found


def _next_steps(summary: Members, policy: Members) -> Iterator[datetime]:
    """Yield when the wait of each variant that is being judged ends."""
    settings = _settings(policy)
    routing = settings.get("TrafficRoutingConfiguration", settings)
    wait = routing.get("WaitIntervalInSeconds", 0)
    for variant in summary.get("ProductionVariants", []):
        for status in variant.get("VariantStatus", []):
            if status.get("Status") == "Baking" and status.get("StartTime"):
                yield status["StartTime"] + timedelta(seconds=wait)


def _variant(variant: Members) -> Members:
    status = (variant.get("VariantStatus") or [{}])[-1]
    return {
        "VariantName": variant["VariantName"],
        "InstanceCount": variant.get("CurrentInstanceCount"),
        "DesiredInstanceCount": variant.get("DesiredInstanceCount"),
        "Status": status.get("Status", ""),
        "Since": status.get("StartTime"),
    }
