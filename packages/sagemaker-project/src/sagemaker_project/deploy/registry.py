"""`deploy-model approve` and `deploy-model reject`: a person's word about a version."""

from sagemaker_project.deploy.calls import Members, sagemaker
from sagemaker_project.deploy.candidate import approval, identity, principal
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.evidence import is_recent, registry_problem
from sagemaker_project.deploy.observation import version_of
from sagemaker_project.errors import Refused


def approve(context: Context) -> Members:
    """Approve a version; unchanged where the same person has done so for the same reason."""
    package = _package(context)
    arn, caller = package["ModelPackageArn"], context.aws.caller
    author = identity(package.get("CreatedBy"))
    rules = context.target.config.approval
    if rules["RequireTwoPeople"] and principal(author) == principal(caller):
        raise Refused(
            f"{arn}: {caller} made it, or may have ({author}); {context.target.stage} needs the"
            " approval of another person (Approval.RequireTwoPeople)"
        )
    waited = package.get("ModelApprovalStatus") == "PendingManualApproval"
    recent = is_recent(package, context.target, context.aws.now())
    result = _decide(context, package, "Approved", recent)
    # A version that had a decision before may serve already: then no promotion comes next.
    return result if waited else {**result, "Next": context.target.command_for_all("status")}


def reject(context: Context) -> Members:
    """Reject a version, or withdraw its approval; what serves is not changed by that."""
    return _decide(context, _package(context), "Rejected", still_counts=True)


def _package(context: Context) -> Members:
    """Read the version, and check that a decision about it means something here."""
    arn = context.request.package_arn or ""
    package = context.aws.package(arn)
    if package is None:
        raise Refused(f"{arn} does not exist")
    if problem := registry_problem(package, context.target):
        raise Refused(problem)
    return package


def _decide(context: Context, package: Members, status: str, still_counts: bool) -> Members:
    """Write the decision, unless it stands as it is already.

    Args:
        still_counts: whether a decision that was made before is recent enough.
    """
    arn, reason, caller = package["ModelPackageArn"], context.request.reason, context.aws.caller
    word = status.lower()
    about = {"ModelPackageArn": arn, "ModelPackageVersion": package["ModelPackageVersion"]}
    same = (
        package.get("ModelApprovalStatus") == status
        and package.get("ApprovalDescription", "") == reason
        and approval(package)["By"] == caller
    )
    if same and still_counts:
        message = (
            f"version {version_of(arn)} was {word} by {caller} already, for this reason: where it"
            " must be decided anew, give another --reason"
        )
        return {"Outcome": "Unchanged", "Message": message, **about}
    members = {"ModelPackageArn": arn, "ModelApprovalStatus": status, "ApprovalDescription": reason}
    context.aws.change(sagemaker("UpdateModelPackage", members))
    message = f"version {version_of(arn)} is {word} by {caller}: {reason}"
    return {"Outcome": status, "Message": message, **about}
