"""Read everything that a command decides on. Nothing is decided here, and nothing is changed.

`look` is called twice by a promotion: before the lock is taken, and again when it is held, since
another command may have changed the stage in between.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sagemaker_project.deploy.artifact import check_artifact
from sagemaker_project.deploy.aws import Aws
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.candidate import candidate, config_hash, pinned_arns
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.creation import (
    altered_copies,
    altered_resources,
    copies_of,
    lost_for_good,
)
from sagemaker_project.deploy.evidence import (
    Artifact,
    Document,
    Evidence,
    Parts,
    Rollback,
    Staged,
    State,
    is_changing,
    not_deployable_because,
)
from sagemaker_project.deploy.ledger import Deployment
from sagemaker_project.deploy.ledger_look import examine_ledger, intact_ledger
from sagemaker_project.deploy.rollback import goal_of
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.errors import Refused


def look(context: Context, before: Evidence | None = None) -> Evidence:
    """Read what a promotion is decided on.

    Args:
        before: an earlier look. This one is at the same version, and takes over the artifacts.

    Raises:
        Refused: the package, or one that the settings name, does not exist.
        AwsError, LedgerError: something cannot be read.
    """
    target, aws = context.target, context.aws
    package = _package(aws, before.candidate.arn if before else _chosen_arn(context))
    pinned = {
        variant: _package(aws, arn, f"{target.config.path.name}: {variant} serves ")
        for variant, arn in pinned_arns(target.config, package["ModelPackageArn"]).items()
    }
    # A model may have gigabytes: those of packages that a gate refuses anyway are not read.
    served = {p["ModelPackageArn"]: p for p in (package, *pinned.values())}
    allowed = not any(not_deployable_because(p, target) for p in served.values())
    artifacts = before.artifacts if before else _artifacts(context, served) if allowed else {}
    pins = {arn: artifact.pin for arn, artifact in artifacts.items() if artifact.pin}
    new = candidate(target, package, pinned, pins)
    state = look_at_stage(context, scaled=new.scaling)
    models = {m["ModelName"]: aws.model(m["ModelName"]) for m in new.models}
    evidence = Evidence(
        **vars(state),
        candidate=new,
        models={name: model for name, model in models.items() if model},
        endpoint_configs=_existing_config(aws, new.name),
        alarms=aws.alarms(target.config.alarms),
        staged=_staged(context, new.arn),
    )
    if not allowed:
        return evidence
    return replace(
        evidence,
        metrics=_metrics(aws, package),
        artifacts=artifacts,
        copies=_sha256s(aws, (pin["ServedUrl"] for pin in pins.values())),
        samples=samples(aws, package),
    )


def look_at_stage(context: Context, scaled: Iterable[str] = (), strict: bool = True) -> State:
    """Read what the stage is now.

    Args:
        scaled: variants whose autoscaling is read beside that of the live ones.
        strict: whether a damaged ledger is an error; else its damage is warned of.

    Raises:
        LedgerError: the ledger is damaged.
    """
    aws, target = context.aws, context.target
    endpoint = aws.endpoint(target.endpoint)
    tags = aws.tags(endpoint["EndpointArn"]) if endpoint else {}  # before the ledger, which grows
    examine = intact_ledger if strict else examine_ledger
    ledger, damage, _ = examine(context, target, tags)
    live = aws.endpoint_config(endpoint["EndpointConfigName"]) if endpoint else None
    there = (endpoint or {}).get("ProductionVariants", [])  # also where the configuration is gone
    variants = {v["VariantName"] for v in (*there, *all_variants(live))} | set(scaled)
    lost = None
    if endpoint and not live and not is_changing(endpoint):
        lost = ledger.deployed(endpoint["EndpointConfigName"])
    return State(
        request=context.request,
        target=target,
        now=aws.now(),
        ledger=ledger,
        endpoint=endpoint,
        endpoint_config=live,
        scaling=aws.scaling(target.endpoint, sorted(variants)),
        tags=tags,
        damage=damage,
        live_parts=_parts(aws, lost) if lost else None,
    )


def look_for_cleanup(context: Context) -> State:
    """Read what a clean-up is decided on."""
    state = look_at_stage(context)
    names = {variant["ModelName"] for variant in all_variants(state.endpoint_config)}
    models = map(context.aws.model, sorted(names))
    return replace(state, live_models=tuple(model for model in models if model))


def look_back(context: Context) -> Rollback:
    """Read what a rollback is decided on."""
    state = look_at_stage(context)
    goal = goal_of(state)
    rollback = Rollback(**vars(state), goal=goal)
    if goal is None or state.live == goal["EndpointConfigName"]:
        return rollback
    parts = _parts(context.aws, goal)
    recorded = goal["Resources"]["EndpointConfig"] if "Resources" in goal else None
    altered = (
        *altered_copies(context.target, goal["Pins"], parts.copies),
        *altered_resources(goal, parts),
    )
    return replace(
        rollback,
        goal_config=parts.endpoint_configs.get(goal["EndpointConfigName"], recorded),
        goal_parts=parts,
        missing=tuple(lost_for_good(context.target, goal, parts)),
        altered=altered,
    )


def _parts(aws: Aws, deployment: Deployment) -> Parts:
    """Read what exists of a deployment."""
    pins = copies_of(deployment)
    models = {name: aws.model(name) for name in deployment["Models"]}
    copies = _sha256s(aws, pins)
    sources = (pin["ModelDataUrl"] for url, pin in pins.items() if url not in copies)
    return Parts(
        models={name: model for name, model in models.items() if model},
        endpoint_configs=_existing_config(aws, deployment["EndpointConfigName"]),
        copies=copies,
        sources=_sha256s(aws, sources),
    )


def _sha256s(aws: Aws, urls: Iterable[str]) -> dict[str, str]:
    """Return {URL: sha256} of those S3 objects that exist."""
    found = {url: aws.sha256_of(url) for url in urls}
    return {url: sha256 for url, sha256 in found.items() if sha256 is not None}


def samples(aws: Aws, package: Members) -> Document:
    """Read the recorded requests of a package's model, which lie beside its metrics."""
    uri = f"{_metrics_uri(package).rpartition('/')[0]}/samples.json"
    return _document(aws, uri)


def _chosen_arn(context: Context) -> str:
    """Return the ARN that --model-package-arn or --latest-approved means."""
    if context.request.package_arn:
        return context.request.package_arn
    group = context.target.group
    arn = context.aws.latest_approved(group)
    if arn is None:
        raise Refused(f"the group {group} has no approved version: approve one first")
    return arn


def _package(aws: Aws, arn: str, named_by: str = "") -> Members:
    package = aws.package(arn)
    if package is None:
        raise Refused(f"{named_by}{arn}{', which' if named_by else ''} does not exist")
    return package


def _existing_config(aws: Aws, name: str) -> Mapping[str, Members]:
    config = aws.endpoint_config(name)
    return {name: config} if config else {}


def _metrics_uri(package: Members) -> str:
    source = package.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {})
    return str(source.get("S3Uri", ""))


def _metrics(aws: Aws, package: Members) -> Document | None:
    uri = _metrics_uri(package)
    return _document(aws, uri) if uri else None


def _document(aws: Aws, uri: str) -> Document:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return Document(uri, aws.get_object(bucket, key) if bucket and key else None)


def _artifacts(context: Context, packages: Mapping[str, Members]) -> dict[str, Artifact]:
    return {arn: _artifact(context, package) for arn, package in packages.items()}


def _artifact(context: Context, package: Members) -> Artifact:
    """Read a package's model and image, and check that the model is whole."""
    expected = package.get("CustomerMetadataProperties", {}).get("ModelSha256")
    isolated = context.target.config.content.get("EnableNetworkIsolation") is True
    try:
        pin = context.aws.pin(
            package,
            lambda file, image: check_artifact(
                file, expected, _scikit_learn_version(image), isolated
            ),
        )
    except Refused as problem:
        return Artifact(problem=str(problem))
    return Artifact({**pin, "ServedUrl": context.target.artifact_url(pin["Sha256"])})


def _scikit_learn_version(image: str) -> str | None:
    """Return the scikit-learn version of SageMaker's own container image, None of any other."""
    found = re.search(r"/sagemaker-scikit-learn:(\d+\.\d+)-", image)
    return found[1] if found else None


def _staged(context: Context, package_arn: str) -> Staged | None:
    """Read what the stage before knows of a version: its last test, and the report of that test."""
    before = context.before
    if before is None:
        return None
    ledger = intact_ledger(context, before).ledger
    staged = Staged(ledger, config_hash(before.config, package_arn))
    test = staged.ledger.test(package_arn, staged.config_hash)
    if test is None:
        return staged
    return replace(staged, test=test, report=_document(context.aws, test["ReportUri"]))
