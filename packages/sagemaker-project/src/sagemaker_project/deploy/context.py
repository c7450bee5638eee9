"""What a command works with: its request, its target, AWS, the clock."""

import os
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
NEED_SETTINGS = ("plan", "promote", "test", "approve")
ROLE_VARIABLE = "MODEL_EXECUTION_ROLE_ARN"


@dataclass(frozen=True)
class Context:
    """What a command works with.

    `before` is the stage before, whose tests a promotion needs; None for the first stage and for
    commands that do not promote. `stages` are all stages in their order for `status`, else the one
    of the command. `say` tells the person at the terminal a line of progress.
    """

    request: DeployRequest
    target: Target
    before: Target | None
    aws: Aws
    clock: Clock
    say: Say
    first_stage: str = ""
    stages: tuple[Target, ...] = ()
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
    stage = request.stage or project.stages[-1]
    named = project.stages if request.command == "status" else (stage,)
    configs = {name: _config(project, request, name, say) for name in named}
    config = configs[stage]
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
    stage_before = project.stage_before(stage)
    if stage_before and request.command in ("plan", "promote"):
        path = settings_path(project, request, stage_before)
        before = _target(project, request, read_config(path, stage_before, last=False), account)
    target = _target(project, request, config, account)
    aws.aws_flags = target.aws_flags
    stages = tuple(_target(project, request, found, account) for found in configs.values())
    return Context(request, target, before, aws, clock, say, project.stages[0], stages)


def _config(project: Project, request: DeployRequest, stage: str, say: Say) -> Config:
    """Read the settings of a stage; a mistake in them does not keep a rollback from working."""
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
    bucket = f"sagemaker-{request.region}-{account}"
    following = project.stages[project.stages.index(config.stage) + 1 :]
    return Target(
        project=request.project_name,
        project_id=request.project_id,
        pipeline="" if project.is_first(pipeline) else pipeline,
        stage=config.stage,
        before=project.stage_before(config.stage) or "",
        region=request.region,
        bucket=request.bucket or bucket,
        role=request.role,
        group=request.group,
        config=config,
        after=following[0] if following else "",
        flags=_flags(project, request, bucket),
    )


def _flags(project: Project, request: DeployRequest, default_bucket: str) -> tuple[str, ...]:
    """Return the flags without which a command would act in another place than this one.

    The role has no default: it is left out where the environment names it.
    """
    given = (
        ("--model-execution-role", request.role, os.environ.get(ROLE_VARIABLE, "")),
        ("--region", request.region, project.region),
        ("--sagemaker-project-name", request.project_name, project.name),
        ("--sagemaker-project-id", request.project_id, ""),
        ("--model-package-group-name", request.group, project.group_of(request.pipeline)),
        ("--s3-bucket", request.bucket, default_bucket),
    )
    words = [
        word
        for flag, *value in given
        if value[0] not in ("", value[1])
        for word in (flag, value[0])
    ]
    return (*(["--local"] if request.local else []), *words)
