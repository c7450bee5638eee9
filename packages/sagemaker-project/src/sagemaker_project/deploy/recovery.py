"""The commands with which a person recovers an endpoint that `deploy-model` leaves alone."""

from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.target import Target


def recovery(target: Target, status: str, ledger: Ledger) -> str:
    """Return the commands for an endpoint in a status that SageMaker does not leave by itself."""
    name, current = target.endpoint, ledger.current
    region = f" {target.aws_flags}"
    if status == "Failed" or not current:
        return (
            "It does not serve and cannot be updated. Type:"
            f" aws sagemaker delete-endpoint --endpoint-name {name}{region},"
            f" then {target.command('promote', '--latest-approved')}"
        )
    return (
        "See its log group /aws/sagemaker/Endpoints/" + name + ", then put the last good version"
        f" back: aws sagemaker update-endpoint --endpoint-name {name} --endpoint-config-name"
        f" {current['EndpointConfigName']}{region}"
    )


def missing_config(state: State) -> str:
    """Say what to do where the live endpoint configuration was deleted; empty where it exists.

    SageMaker updates no endpoint whose configuration is gone.
    """
    if not state.endpoint or state.endpoint_config or state.changing:
        return ""
    current = state.ledger.deployed(state.endpoint["EndpointConfigName"])
    version = current["ModelPackageArn"] if current else "ARN"
    return (
        f"the endpoint configuration {state.live}, which {state.target.endpoint} runs, was deleted,"
        " and SageMaker cannot update the endpoint without it. Make it again:"
        f" {state.target.command('promote', '--model-package-arn', version)}"
    )
