"""Find the champion: the model that the last stage serves, which a new one has to stand beside.

SageMaker says what serves. The endpoint names its configuration, a tag of which names the model
package; one of the configuration's models serves that package, from the stage's own copy of its
artifact. The sha256 of the copy is in the stage's ledger, else it is taken from the bytes. Where a
configuration was deleted and still serves, the ledger alone knows what it is.

Nothing is changed. What is found becomes parameters of the execution, so that step caching and
provenance see it.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sagemaker_project.build.request import RunRequest
from sagemaker_project.clock import Clock
from sagemaker_project.deploy.arguments import parse
from sagemaker_project.deploy.aws import Aws
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context, open_context
from sagemaker_project.deploy.ledger import Deployment
from sagemaker_project.deploy.ledger_look import read_ledger
from sagemaker_project.deploy.request import DeployRequest
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.target import PACKAGE_TAG
from sagemaker_project.errors import AwsError, NeedsHuman, NoBucket, RunFailed, UsageError
from sagemaker_project.project import Project
from sagemaker_project.usage import Json

NONE = "none"
SERVES_NOTHING = ("Creating", "Deleting", "Failed", "OutOfService")  # an EndpointStatus
TIMEOUT_SECONDS = 120
WITHOUT = "start without it: --parameters Champion=none"


class Champion(NamedTuple):
    """What serves; "none" throughout where nothing does."""

    package_arn: str = NONE
    model_url: str = NONE
    model_sha256: str = NONE

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of a pipeline execution that say so."""
        return {
            "ChampionPackageArn": self.package_arn,
            "ChampionModelUrl": self.model_url,
            "ChampionModelSha256": self.model_sha256,
        }


def champion_parameters(
    project: Project, request: RunRequest, declared: Mapping[str, Json], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the parameters of an execution that name the champion.

    None are returned where the parameter Champion is "none", where one of them is given, where
    nothing serves, and for a pipeline that does not declare ChampionPackageArn: the defaults of the
    definition say so.

    Args:
        declared: {name: entry of the definition's Parameters}.
        given: parameters of the execution that are decided already.
    """
    if "ChampionPackageArn" not in declared:
        return {}
    default = declared.get("Champion", {}).get("DefaultValue", project.stages[-1])
    if given.get("Champion", default) == NONE or not given.keys().isdisjoint(Champion().parameters):
        return {}
    folder = request.module_name.split(".")[-2:][0]  # pipelines.<its name>.pipeline
    found = find_champion(project, folder if project.pipeline else "", request.region)
    if found.package_arn == NONE:
        return {}
    return {name: value for name, value in found.parameters.items() if name in declared}


def find_champion(
    project: Project,
    pipeline: str = "",
    region: str = "",
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> Champion:
    """Return what the last stage of a pipeline serves.

    The project's name, bucket and group are those that `deploy-model` takes: from the variables of
    CodeBuild, else from `project`.

    Args:
        pipeline: its name; "" for the first one.
        region: that of the endpoint; "" for the environment's, else the project's.
        say: gets warnings, such as of a damaged ledger.

    Raises:
        UsageError: the settings or the credentials cannot be used.
        RunFailed: something serves, and it cannot be found out what; or AWS does not say.
    """
    stage = project.stages[-1]
    if not project.is_first(pipeline) and not Path(project.settings_of(pipeline)).is_dir():
        return Champion()  # a pipeline without settings was never deployed
    words = ["status", "--stage", stage]
    words += ["--pipeline", pipeline] if pipeline else []
    words += ["--region", region] if region else []
    request = DeployRequest.of(parse(project, words))
    clock = Clock()
    try:
        aws = Aws(request.region, TIMEOUT_SECONDS, clock)
        return _what_serves(open_context(project, request, aws, clock, say))
    except UsageError as error:
        raise UsageError(f"what {stage} serves: {error}; or {WITHOUT}") from None
    except (AwsError, NeedsHuman) as error:
        raise RunFailed(f"what {stage} serves cannot be read: {error}; or {WITHOUT}") from None


def _what_serves(context: Context) -> Champion:
    aws, name = context.aws, context.target.endpoint
    endpoint = aws.endpoint(name)
    if endpoint is None or endpoint["EndpointStatus"] in SERVES_NOTHING:
        return Champion()
    live = endpoint["EndpointConfigName"]
    recorded = _recorded(context, live, aws.tags(endpoint["EndpointArn"]))
    config = aws.endpoint_config(live)
    arn, url = _served(aws, config) if config else ("", "")
    if not arn and recorded:
        arn = recorded["ModelPackageArn"]
    pin = _pin(recorded, arn)
    url = url or pin.get("ServedUrl", pin.get("ModelDataUrl", ""))
    if not arn or not url:
        raise RunFailed(
            f"{name} serves {live}, and neither its tags nor the ledger name a model package:"
            f" promote a version again; or {WITHOUT}"
        )
    sha256 = _sha256(aws, url, pin)
    if sha256 is None:
        raise RunFailed(
            f"{name} serves {arn}, whose artifact {url} is gone: restore it; or {WITHOUT}"
        )
    return Champion(arn, url, sha256)


def _recorded(context: Context, live: str, tags: dict[str, str]) -> Deployment | None:
    """Return the ledger's deployment of the endpoint configuration that serves."""
    try:
        return read_ledger(context, context.target, tags).ledger.deployed(live)
    except NoBucket:
        return None


def _served(aws: Aws, config: Members) -> tuple[str, str]:
    """Return the package that a configuration is for and the URL of its artifact, "" if unknown.

    A variant may serve another version beside it. Without a tag, the package is that of the variant
    with the most traffic.
    """
    variants = sorted(all_variants(config), key=lambda v: -float(v.get("InitialVariantWeight", 1)))
    models = [model for v in variants if (model := aws.model(v["ModelName"]))]
    packages = [_package_of(aws, model) for model in models]
    wanted = aws.tags(config["EndpointConfigArn"]).get(PACKAGE_TAG, "")
    arn = wanted or next(filter(None, packages), "")
    for model, package in zip(models, packages, strict=True):
        if package == arn:
            url = model.get("PrimaryContainer", {}).get("ModelDataUrl") or _url(aws, arn)
            return arn, str(url)
    return arn, ""


def _package_of(aws: Aws, model: Members) -> str:
    named = model.get("PrimaryContainer", {}).get("ModelPackageName")
    return str(named or aws.tags(model["ModelArn"]).get(PACKAGE_TAG, ""))


def _url(aws: Aws, package_arn: str) -> str:
    """Return the artifact of a package that a model names instead of an artifact."""
    package = aws.package(package_arn) or {}
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    return str(containers[0].get("ModelDataUrl", "")) if containers else ""


def _sha256(aws: Aws, url: str, pin: Mapping[str, str]) -> str | None:
    """Return the sha256 of an artifact, None if it is gone.

    The bytes of one that the ledger knows are not read: the job that loads it compares them.
    """
    if pin.get("ServedUrl") != url:
        return aws.sha256_of(url)
    bucket, _, key = url.removeprefix("s3://").partition("/")
    there = aws.read("s3", "HeadObject", Bucket=bucket, Key=key)
    return pin["Sha256"] if there else None


def _pin(recorded: Deployment | None, arn: str) -> dict[str, str]:
    pins = recorded["Pins"] if recorded else []
    return next((pin for pin in pins if pin["ModelPackageArn"] == arn), {})
