"""What a command works with: its request, its target, AWS, the clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sagemaker_project.clock import Clock
from sagemaker_project.deploy.aws import Aws
from sagemaker_project.deploy.config import Config, read_config, unreadable
from sagemaker_project.deploy.request import DeployRequest, check_request, settings_path
from sagemaker_project.deploy.target import Target
from sagemaker_project.errors import UsageError
from sagemaker_project.project import Project

Say = Callable[[str], None]
NEED_SETTINGS = ("plan", "promote", "test")


@dataclass(frozen=True)
class Context:
    """What a command works with.

    `before` is the stage before, whose tests a promotion needs; None for the first stage and for
    commands that do not promote. `say` tells the person at the terminal a line of progress.
    """

    request: DeployRequest
    target: Target
    before: Target | None
    aws: Aws
    clock: Clock
    say: Say
    warned: set[str] = field(default_factory=set)

    def warn(self, text: str) -> None:
        """Tell a warning, once however often it is met."""
        if text not in self.warned:
            self.warned.add(text)
            self.say(f"warning: {text}")


def open_context(
    project: Project, request: DeployRequest, aws: Aws, clock: Clock, say: Say
) -> Context:
    """Check the request, and that the credentials are of the account that it is about.

    Raises:
        UsageError: a name, a setting or the account is wrong.
        Refused: the package is of another region, or has no version.
    """
    check_request(project, request, aws.session)
    config = _config(project, request, say)
    caller = aws.read("sts", "GetCallerIdentity") or {}
    aws.caller = caller["Arn"]
    account = caller["Account"]
    role_account = request.role.split(":")[4] if request.role else account
    expected = config.content.get("AccountId") or role_account
    if expected != account:
        raise UsageError(
            f"logged in as {caller['Arn']}, the project expects account {expected}: log in there"
        )
    if role_account != account:
        raise UsageError(f"--model-execution-role {request.role} is not of account {account}")
    before = None
    stage_before = project.stage_before(request.stage)
    if stage_before and request.command in ("plan", "promote"):
        path = settings_path(project, request, stage_before)
        before = _target(project, request, read_config(path, stage_before, last=False), account)
    target = _target(project, request, config, account)
    return Context(request, target, before, aws, clock, say)


def _config(project: Project, request: DeployRequest, say: Say) -> Config:
    """Read the settings of the stage; a mistake in them does not keep a rollback from working."""
    stage = request.stage
    path = settings_path(project, request, stage)
    try:
        return read_config(path, stage, stage == project.stages[-1])
    except UsageError as error:
        if request.command in NEED_SETTINGS:
            raise
        say(f"{request.command} goes on without the settings: {error}")
        return unreadable(path, stage)


def _target(project: Project, request: DeployRequest, config: Config, account: str) -> Target:
    pipeline = request.pipeline or ""
    return Target(
        project=request.project_name,
        project_id=request.project_id,
        pipeline="" if project.is_first(pipeline) else pipeline,
        stage=config.stage,
        before=project.stage_before(config.stage) or "",
        region=request.region,
        bucket=request.bucket or f"sagemaker-{request.region}-{account}",
        role=request.role,
        group=request.group,
        config=config,
    )
