"""The command to type after one that ended well: approve, promote, test, promote to the next stage.

Pure: it knows no more than the result. A command that failed says what to do in its message, and
`deploy-model status` has a table of its own (recommendation.py).
"""

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.request import DeployRequest
from sagemaker_project.deploy.target import Target


def next_command(context: Context, result: Members) -> str:
    """Return the next command, complete."""
    request, target = context.request, context.target
    match request.command:
        case "history" | "audit":
            return ""
        case "plan" if result["Outcome"] == "Planned":
            token = ("--plan-token", result["PlanToken"])
            return target.command("promote", *_flags(request, result), *token)
        case "plan" | "promote" if target.after:
            return target.command("test")
        case "test" if result["Outcome"] == "Passed" and target.after:
            arn = ("--model-package-arn", result["ModelPackageArn"])
            return target.command("promote", *arn, stage=target.after)
        case "test" if result["Outcome"] == "Failed":
            return target.command("rollback")
        case "test" if result["Outcome"] == "Inconclusive":
            return target.command("test")
        case "approve":
            arn = ("--model-package-arn", result["ModelPackageArn"])
            return target.command("promote", *arn, stage=context.first_stage)
    return _status(target)


def _flags(request: DeployRequest, result: Members) -> list[str]:
    """Return the flags of the promotion that was planned."""
    given = {
        "--retry": request.retry,
        "--accept-drift": request.accept_drift,
        "--accept-uncommitted": request.accept_uncommitted,
    }
    arn = ["--model-package-arn", str(result["ModelPackageArn"])]
    now = ["--now", "--reason", request.reason] if request.now else []
    return arn + [flag for flag, wanted in given.items() if wanted] + now


def _status(target: Target) -> str:
    return target.command("status")
