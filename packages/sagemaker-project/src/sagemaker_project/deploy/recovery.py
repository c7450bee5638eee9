"""The commands with which a person recovers an endpoint that `deploy-model` leaves alone."""

from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.ledger import Deployment, Ledger
from sagemaker_project.deploy.target import Target


def recovery_commands(target: Target, status: str, ledger: Ledger) -> list[str]:
    """Return what to type for an endpoint in a status that SageMaker does not leave by itself."""
    name, current, flags = target.endpoint, ledger.current, target.aws_flags
    if status == "Failed" or not current:
        delete = f"aws sagemaker delete-endpoint --endpoint-name {name} {flags}"
        if status == "Failed" and not current and ledger.pending:
            delete = target.command("rollback")  # deletes all that the first promotion made
        return [delete, promote_again(target, current)]
    config = current["EndpointConfigName"]
    return [
        f"aws sagemaker update-endpoint --endpoint-name {name} --endpoint-config-name {config}"
        f" {flags}"
    ]


def recovery(target: Target, status: str, ledger: Ledger) -> str:
    """Say what is wrong with such an endpoint, and what to type."""
    commands = ", then ".join(recovery_commands(target, status, ledger))
    if status == "Failed" or not ledger.current:
        return f"It does not serve and cannot be updated. Type: {commands}"
    return (
        f"See its log group /aws/sagemaker/Endpoints/{target.endpoint}, then put the last good"
        f" version back: {commands}"
    )


def missing_config(state: State) -> str:
    """Say what to do where the live endpoint configuration was deleted; empty where it exists.

    SageMaker updates no endpoint whose configuration is gone.
    """
    if not state.endpoint or state.endpoint_config or state.changing:
        return ""
    target, live = state.target, state.ledger.deployed(state.endpoint["EndpointConfigName"])
    what = (
        f"the endpoint configuration {state.live}, which {target.endpoint} runs, was deleted,"
        " and SageMaker cannot update the endpoint without it"
    )
    if live:
        return f"{what}. Make it again: {promote_again(target, live)}"
    return (
        f"{what}. The ledger does not know how it was made: its owner has to create it again; or"
        f" replace the endpoint: aws sagemaker delete-endpoint --endpoint-name {target.endpoint}"
        f" {target.aws_flags}, then {promote_again(target, None)}"
    )


def promote_again(target: Target, deployment: Deployment | None, *words: str) -> str:
    """Return the command that promotes the version of a deployment again.

    Without one it is the command for the highest approved version.
    """
    which = ("--model-package-arn", deployment["ModelPackageArn"]) if deployment else None
    return target.command("promote", *(which or ("--latest-approved",)), *words)
