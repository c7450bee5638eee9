"""Read what `deploy-model status` shows of a stage: reads that need no other one go in parallel.

An error of one read does not keep the others from being shown: what it was about is noted as
unread, with the reason. A look takes about READ_SECONDS at most, however AWS answers.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from botocore.exceptions import ClientError

from sagemaker_project.deploy import lock as locks
from sagemaker_project.deploy import traffic as traffics
from sagemaker_project.deploy.aws import Aws
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.client import LOST
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger import Deployment, Ledger
from sagemaker_project.deploy.ledger_look import read_ledger
from sagemaker_project.deploy.ledger_read import Examined
from sagemaker_project.deploy.observation import (
    Before,
    Observation,
    Unread,
)
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.target import PACKAGE_TAG, Target
from sagemaker_project.errors import AwsError, LedgerError, NoBucket, ProjectError, Unavailable

READ_SECONDS = 30
THREADS = 12
MOST_BELOW = 10  # deployments of the ledger whose artifacts are looked for
T = TypeVar("T")


class _Reads:
    """Reads in parallel; those that fail are noted in `unread`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.unread: dict[str, Unread] = {}

    def start(self, part: str, read: Callable[[], T], otherwise: T) -> Callable[[], T]:
        """Begin a read; return the function that waits for what it gives."""
        future = self.pool.submit(read)

        def result() -> T:
            try:
                return future.result()
            except ProjectError as error:
                denied = isinstance(error, AwsError) and not isinstance(error, Unavailable)
                self.unread[part] = Unread(str(error), denied)
                return otherwise

        return result


def look_for_status(
    context: Context, targets: Iterable[Target], deadline: float
) -> list[Observation]:
    """Read several stages at once, until `deadline`; return them in the order of `targets`."""
    aws, shown = context.aws, list(targets)
    aws.deadline = min(deadline, context.clock.monotonic() + READ_SECONDS)
    by_name = {target.stage: target for target in context.stages}
    with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(len(shown)) as stages:
        return list(
            stages.map(
                lambda target: _look(context, target, by_name, _Reads(pool)),
                shown,
            )
        )


def _look(
    context: Context, target: Target, stages: Mapping[str, Target], reads: _Reads
) -> Observation:
    """Read one stage: first what needs only its name, then what follows from that."""
    before, after = stages.get(target.before), stages.get(target.after)
    aws = context.aws
    nothing, no_tags = (Examined(Ledger(), ()), False), dict[str, str]()
    no_lock: tuple[Members | None, bool, str] = (None, False, "")
    no_alarms: dict[str, Members] = {}
    none_missing: tuple[str, ...] = ()
    endpoint_read = reads.start("endpoint", lambda: aws.endpoint(target.endpoint), None)
    lock_read = reads.start("lock", lambda: _lock(aws, target), no_lock)
    alarms_read = reads.start("alarms", lambda: aws.alarms(target.config.alarms), no_alarms)
    before_read = reads.start("the stage before", lambda: _before(context, before), None)
    after_read = reads.start("the stage after", lambda: _after(context, after), None)
    endpoint = endpoint_read()
    tags = reads.start("tags", lambda: _tags(aws, endpoint), no_tags)()  # before the ledger
    ledger_read = reads.start("ledger", lambda: _ledger(context, target, tags), nothing)
    live_name = endpoint["EndpointConfigName"] if endpoint else ""
    config_read = reads.start("endpoint configuration", lambda: _config(aws, live_name), None)
    traffic_read = reads.start("traffic", lambda: _traffic(aws, target, endpoint), None)
    (ledger, damage, _), no_bucket = ledger_read()
    goal = ledger.rollback_target
    goal_read = reads.start("rollback target", lambda: _missing(aws, goal), none_missing)
    arns = _arns(ledger, live_name)
    packages = {arn: _package(reads, aws, arn) for arn in arns}
    newest_read = _newest(reads, aws, target, endpoint is None)
    config = config_read()
    models, tagged = _models(reads, aws, config, ledger.deployed(live_name) is None)
    owner, lives, lock_damaged = lock_read()
    artifacts = _artifacts(reads, aws, _to_make_again(ledger, live_name, config, models))
    approved, waiting = newest_read()
    observation = Observation(
        request=context.request,
        target=target,
        now=aws.now(),
        ledger=ledger,
        endpoint=endpoint,
        endpoint_config=config,
        damage=damage,
        tags=tags,
        lock=owner,
        lock_lives=lives,
        lock_damaged=lock_damaged,
        models=models,
        tagged=tagged,
        packages=_known({arn: package() for arn, package in packages.items()}, reads),
        alarms=alarms_read(),
        traffic=traffic_read(),
        before=before_read(),
        after=after_read(),
        approved=approved,
        waiting=waiting,
        no_bucket=no_bucket,
        goal_missing=goal_read(),
        artifacts_missing=artifacts,
        unread=reads.unread,
    )
    return _with_package(reads, aws, observation)


def _ledger(context: Context, target: Target, tags: dict[str, str] | None) -> tuple[Examined, bool]:
    """Return the ledger, and whether its bucket has still to be created.

    The project's own bucket is created when it is first needed: without it, and without an
    endpoint that may have had a ledger, nothing was deployed.
    """
    try:
        return read_ledger(context, target, tags), False
    except NoBucket:
        if not target.in_default_bucket or context.aws.endpoint(target.endpoint):
            raise
        return Examined(Ledger(), ()), True


def _lock(aws: Aws, target: Target) -> tuple[Members | None, bool, str]:
    """Return the owner of the lock, whether its command still runs, and what is wrong with it."""
    where = {"Bucket": target.bucket, "Key": target.lock_key}
    file = io.BytesIO()
    answer = aws.download(file, **where)
    if answer is None:
        return None, False, ""
    try:
        owner = locks.owner_in(file.getvalue(), where)
    except LedgerError as error:
        return None, False, str(error)
    return owner, not locks.is_gone(owner, answer), ""


def _before(context: Context, before: Target | None) -> Before | None:
    if before is None:
        return None
    (ledger, damage, _), _ = _ledger(context, before, None)
    return Before(before, ledger, damage)


def _after(context: Context, after: Target | None) -> Ledger | None:
    return _ledger(context, after, None)[0].ledger if after else None


def _config(aws: Aws, name: str) -> Members | None:
    return aws.endpoint_config(name) if name else None


def _missing(aws: Aws, goal: Deployment | None) -> tuple[str, ...]:
    """Return what a rollback would have to make again."""
    if not goal:
        return ()
    name = goal["EndpointConfigName"]
    missing = [] if aws.endpoint_config(name) else [name]
    return tuple(missing + [model for model in goal["Models"] if aws.model(model) is None])


def _to_make_again(
    ledger: Ledger, live: str, config: Members | None, models: Mapping[str, Members]
) -> list[Deployment]:
    """Return the deployments whose parts a command may have to create from their artifacts."""
    if not live:
        return ledger.stack[-MOST_BELOW:]
    served = ledger.deployed(live)
    whole = config is not None and all(v["ModelName"] in models for v in all_variants(config))
    return [served] if served and not whole else []


def _artifacts(
    reads: _Reads, aws: Aws, deployments: Iterable[Deployment]
) -> dict[str, tuple[str, ...]]:
    """Return which of the original and the copy of each deployment's artifact are gone."""
    nothing: tuple[str, ...] = ()
    started = {
        deployment["ModelPackageArn"]: reads.start(
            "artifact", partial(_missing_artifacts, aws, deployment), nothing
        )
        for deployment in deployments
    }
    return {arn: missing() for arn, missing in started.items()}


def _missing_artifacts(aws: Aws, deployment: Deployment) -> tuple[str, ...]:
    """Return which of an artifact's original and copy are gone."""
    missing = []
    for kind in ("ModelDataUrl", "ServedUrl"):
        for pin in deployment["Pins"]:
            bucket, _, key = pin.get(kind, "").removeprefix("s3://").partition("/")
            if key and aws.read("s3", "HeadObject", Bucket=bucket, Key=key) is None:
                missing.append(kind)
    return tuple(missing)


def _arns(ledger: Ledger, live: str) -> set[str]:
    """Return the packages that the ledger names and the verdict asks about."""
    pending = (ledger.pending or {}).get("Deployment")
    deployments = (ledger.deployed(live), ledger.current, pending, ledger.rollback_target)
    return {deployment["ModelPackageArn"] for deployment in deployments if deployment}


def _package(reads: _Reads, aws: Aws, arn: str) -> Callable[[], Members | None]:
    return reads.start(f"package {arn}", partial(aws.package, arn), None)


def _known(found: dict[str, Members | None], reads: _Reads) -> dict[str, Members | None]:
    """Leave out the packages that could not be read: None is for those that were deleted."""
    return {arn: package for arn, package in found.items() if f"package {arn}" not in reads.unread}


def _models(
    reads: _Reads, aws: Aws, config: Members | None, ask_tags: bool
) -> tuple[dict[str, Members], dict[str, str]]:
    """Read the live models, and what their tags say that they serve where the ledger does not."""
    names = {variant["ModelName"] for variant in all_variants(config)}
    started = {name: reads.start("models", partial(aws.model, name), None) for name in names}
    models = {name: model for name, result in started.items() if (model := result())}
    tagged: dict[str, str] = {}
    for name, model in models.items() if ask_tags else ():
        if "ModelPackageName" not in model.get("PrimaryContainer", {}):
            nothing: dict[str, str] = {}
            tags = reads.start("tags", partial(aws.tags, model["ModelArn"]), nothing)()
            if arn := tags.get(PACKAGE_TAG):
                tagged[name] = arn
    return models, tagged


def _tags(aws: Aws, endpoint: Members | None) -> dict[str, str]:
    return aws.tags(endpoint["EndpointArn"]) if endpoint else {}


def _newest(reads: _Reads, aws: Aws, target: Target, absent: bool) -> Callable[[], tuple[str, str]]:
    """Read the newest approved version and, without one, the newest that waits for approval."""
    if not absent:
        return lambda: ("", "")

    def ask() -> tuple[str, str]:
        approved = aws.latest_approved(target.group)
        if approved:
            return approved, ""
        waiting = aws.pages(
            "sagemaker",
            "ListModelPackages",
            "ModelPackageSummaryList",
            ModelPackageGroupName=target.group,
            ModelApprovalStatus="PendingManualApproval",
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        return "", str(next(waiting, {}).get("ModelPackageArn", ""))

    return reads.start("model registry", ask, ("", ""))


def _with_package(reads: _Reads, aws: Aws, observation: Observation) -> Observation:
    """Read the package that the models say serves, where the ledger does not know it."""
    arn = observation.serving_arn
    if not arn or arn in observation.packages or f"package {arn}" in reads.unread:
        return observation
    package = _package(reads, aws, arn)()
    return replace(observation, packages=_known({**observation.packages, arn: package}, reads))


def _traffic(
    aws: Aws, target: Target, endpoint: Members | None
) -> tuple[traffics.Traffic, ...] | None:
    """Ask CloudWatch for the last minutes, and not for long: they are not worth a wait."""
    variants = [v["VariantName"] for v in (endpoint or {}).get("ProductionVariants", [])]
    if not endpoint or not variants:
        return None
    client = aws.client_in_haste("cloudwatch")
    now = aws.now()
    since = traffics.begin(endpoint["LastModifiedTime"], now)
    members = traffics.queries(target.endpoint, variants, since, now)
    results: list[Members] = []
    try:
        while True:
            page = aws.send("cloudwatch", "GetMetricData", members, client)
            results += page.get("MetricDataResults", [])
            if not page.get("NextToken"):
                return traffics.traffic(variants, results, since)
            members["NextToken"] = page["NextToken"]
    except ClientError as error:
        about = {"EndpointName": target.endpoint}
        raise aws.refusal(error, "cloudwatch", "GetMetricData", about) from None
    except LOST as error:
        raise aws.unreachable(error, "cloudwatch", "GetMetricData") from None
