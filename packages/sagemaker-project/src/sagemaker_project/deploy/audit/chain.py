"""CHAIN: the links from what serves to the commit, each a function of a `Subject`.

A link is *verified* where it was recomputed, or read from a source that does not depend on the one
it is compared with; *recorded* where one place alone says so; *FAILED* where two contradict each
other.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TypeAlias

from sagemaker_project.deploy.audit.evaluation import metrics_link
from sagemaker_project.deploy.audit.link import FAILED, RECORDED, VERIFIED, Link, compared
from sagemaker_project.deploy.audit.sources import Sources, parts
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.candidate import approval
from sagemaker_project.deploy.container import pinned_image
from sagemaker_project.deploy.matching import matches
from sagemaker_project.deploy.names import DIRTY, is_uncommitted
from sagemaker_project.deploy.scaling import all_variants

VERSION_IN_NAME = re.compile(r"-v(\d+)-[0-9a-f]+$")  # names.resource_name
COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
LEDGER = "the ledger"
PACKAGE = "the package"


@dataclass(frozen=True)
class Subject:
    """A deployment of the ledger, and which of its variants; '' is the one of the new version."""

    sources: Sources
    deployment: Members
    variant: str = ""

    @cached_property
    def config(self) -> str:
        return str(self.deployment["EndpointConfigName"])

    @cached_property
    def model_name(self) -> str:
        """The model of the variant; a variant that serves a fixed version has another one."""
        config, _ = self.sources.endpoint_config(self.deployment)
        variants = {v["VariantName"]: v["ModelName"] for v in all_variants(config)}
        models: list[str] = self.deployment["Models"]
        new = f"-v{self.deployment['ModelPackageVersion']}-"
        own = next((name for name in models if new in name), models[0])
        return str(variants.get(self.variant, own))

    @cached_property
    def pin(self) -> Members:
        """What the ledger says of the bytes that the variant serves."""
        found = VERSION_IN_NAME.search(self.model_name)
        pins: list[Members] = self.deployment["Pins"]
        ends = f"/{found[1]}" if found else self.deployment["ModelPackageArn"]
        return next((pin for pin in pins if pin["ModelPackageArn"].endswith(ends)), pins[0])

    @cached_property
    def package_arn(self) -> str:
        return str(self.pin["ModelPackageArn"])

    @cached_property
    def package(self) -> Members:
        return self.sources.package(self.package_arn)

    @cached_property
    def is_new(self) -> bool:
        """Whether the variant serves the version that the deployment was for."""
        return self.package_arn == str(self.deployment["ModelPackageArn"])

    def metadata(self, name: str) -> str:
        return str(self.package.get("CustomerMetadataProperties", {}).get(name, ""))

    @cached_property
    def execution_arn(self) -> str:
        """The execution that the package names; '' where it names none, as in "unknown"."""
        arn = self.metadata("PipelineExecutionArn")
        return arn if arn.startswith("arn:") else ""

    def of_ledger(self, name: str) -> str:
        """Return what the ledger's entry says of the new version; '' for another one."""
        return str(self.deployment.get(name, "")) if self.is_new else ""

    @cached_property
    def artifact_url(self) -> str:
        """Where the bytes are that SageMaker served: a copy, or the package's own."""
        return str(self.pin.get("ServedUrl") or self.pin["ModelDataUrl"])

    @cached_property
    def evaluation_folder(self) -> str:
        quality = self.package.get("ModelMetrics", {}).get("ModelQuality", {})
        return str(quality.get("Statistics", {}).get("S3Uri", "")).rpartition("/")[0]


def ledger(subject: Subject) -> Link:
    found, target = subject.sources.ledger, subject.sources.target
    source = f"s3://{target.bucket}/{target.ledger_folder}/"
    value = f"{len(found.entries)} entries"
    if damage := subject.sources.damage():
        return Link("ledger", value, source, FAILED, damage)
    if newer := subject.sources.damage(newer=True):
        return Link("ledger", value, source, RECORDED, newer)
    if found.set_aside:
        numbers = ", ".join(map(str, sorted(found.set_aside)))
        return Link("ledger", value, source, RECORDED, f"set aside as damaged: {numbers}")
    return Link("ledger", value, source, VERIFIED, "each has the hash of itself and the one before")


def endpoint_config(subject: Subject) -> Link:
    name, deployment = subject.config, subject.deployment
    found = subject.sources.describe("DescribeEndpointConfig", EndpointConfigName=name)
    source = f"DescribeEndpointConfig {name}"
    if found is None:
        return Link("endpoint configuration", name, LEDGER, RECORDED, "it was deleted")
    models = sorted({variant["ModelName"] for variant in all_variants(found)})
    if models != sorted(deployment["Models"]):
        note = f"it serves {', '.join(models)}, {LEDGER} says {', '.join(deployment['Models'])}"
        return Link("endpoint configuration", name, source, FAILED, note)
    recorded = deployment.get("Resources", {}).get("EndpointConfig", {})
    return _as_recorded(Link("endpoint configuration", name, source, VERIFIED), recorded, found)


def _as_recorded(link: Link, recorded: Members, found: Members) -> Link:
    """Return the link, FAILED where the resource is not what the ledger has of its create call."""
    differing = [n for n, value in recorded.items() if not matches({n: value}, found)]
    if not differing:
        return replace(link, note=f"as in {LEDGER}")
    note = f"other than in {LEDGER}: {', '.join(differing)}"
    return replace(link, status=FAILED, note=note)


def model(subject: Subject) -> Link:
    name = subject.model_name
    found = subject.sources.describe("DescribeModel", ModelName=name)
    if found is None:
        return Link("model", name, LEDGER, RECORDED, "it was deleted")
    source = f"DescribeModel {name}"
    models: list[Members] = subject.deployment.get("Resources", {}).get("Models", [])
    if recorded := next((one for one in models if one["ModelName"] == name), None):
        link = _as_recorded(Link("model", name, source, VERIFIED), recorded, found)
        if link.status == VERIFIED and _environment(found) != _environment(recorded):  # it has more
            return replace(link, status=FAILED, note=f"other than in {LEDGER}: Environment")
        return link
    return _model_of_format_1(subject, source, found.get("PrimaryContainer", {}))


def _environment(model: Members) -> Members:
    environment: Members = model.get("PrimaryContainer", {}).get("Environment", {})
    return environment


def _model_of_format_1(subject: Subject, source: str, container: Members) -> Link:
    """Compare a model with the pin, because the ledger does not have its create call."""
    found, wanted = container.get("ModelPackageName"), subject.package_arn
    if not found:
        found, wanted = container.get("ModelDataUrl", ""), subject.artifact_url
    link = replace(compared("model", source, found, {LEDGER: wanted}), value=subject.model_name)
    image = container.get("Image", "")
    if link.status != VERIFIED:
        return link
    if not image:
        return replace(link, status=RECORDED, note=f"package as in {LEDGER}, which has no more")
    if image not in (subject.pin["Image"], pinned_image(subject.pin)):
        note = f"its image is {image}, {LEDGER} says {subject.pin['Image']}"
        return replace(link, status=FAILED, note=note)
    return replace(link, note=f"model and image as in {LEDGER}")


def package(subject: Subject) -> Link:
    arn, pin, source = subject.package_arn, subject.pin, "DescribeModelPackage"
    if not subject.package:
        return Link("model package", arn, LEDGER, RECORDED, "it was deleted")
    [container] = subject.package["InferenceSpecification"]["Containers"]
    for member in ("ModelDataUrl", "Image"):
        if container.get(member) != pin[member]:
            note = f"its {member} is {container.get(member)}, {LEDGER} says {pin[member]}"
            return Link("model package", arn, source, FAILED, note)
    return Link("model package", arn, source, VERIFIED, f"model and image as in {LEDGER}")


def artifact(subject: Subject) -> Link:
    url = subject.artifact_url
    claims = {LEDGER: subject.pin["Sha256"], PACKAGE: subject.metadata("ModelSha256")}
    found = subject.sources.sha256(url)
    return compared("model artifact", f"sha256 of {url}", found, claims, f"{url} is gone")


def approver(subject: Subject) -> Link:
    recorded: Members = subject.deployment["Approval"] if subject.is_new else {}
    source = "DescribeModelPackage: LastModifiedBy, LastModifiedTime, ApprovalDescription"
    if not recorded:
        note = "the ledger has the approval of the new version only"
        return Link("approver", "unknown", LEDGER, RECORDED, note)
    value = f"{recorded['By']} at {recorded['Time']}: {recorded['Reason'] or 'no reason given'}"
    if not subject.package:
        return Link("approver", value, LEDGER, RECORDED, "the package was deleted")
    now, status = approval(subject.package), subject.package.get("ModelApprovalStatus")
    at, recorded_at = _moment(now["Time"]), _moment(recorded["Time"])
    same = (status, now["Reason"], at) == ("Approved", recorded["Reason"], recorded_at)
    if same and "unknown" in (now["By"], recorded["By"], recorded["Time"]):
        return Link("approver", value, source, RECORDED, "SageMaker does not say who or when")
    if same and now["By"] == recorded["By"]:
        return Link("approver", value, source, VERIFIED, f"as in {LEDGER}")
    note = f"the package says {status} by {now['By']} at {now['Time']}: {now['Reason']}"
    if at and recorded_at and at > recorded_at:
        return Link("approver", value, LEDGER, RECORDED, f"{note}; it was changed afterwards")
    return Link("approver", value, source, FAILED, note)


def _moment(text: str) -> datetime | None:
    """Return a time of the ledger: two with other zones may be the same moment."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def evaluation(subject: Subject) -> Link:
    uri = f"{subject.evaluation_folder}/evaluation.json"
    metadata = subject.package.get("CustomerMetadataProperties", {})
    return metrics_link(uri, subject.sources.body(uri), metadata)


def samples(subject: Subject) -> Link:
    uri = f"{subject.evaluation_folder}/samples.json"
    claims = {PACKAGE: subject.metadata("SamplesSha256")}
    found = subject.sources.sha256(uri)
    return compared("evaluation: samples", f"sha256 of {uri}", found, claims, f"{uri} is gone")


def training_job(subject: Subject) -> Link:
    name = subject.metadata("TrainingJobName")
    if not name:
        return _not_said("training job")
    job = subject.sources.describe("DescribeTrainingJob", TrainingJobName=name)
    if job is None:
        return Link("training job", name, PACKAGE, RECORDED, "it does not exist any more")
    source = f"DescribeTrainingJob: {job['TrainingJobStatus']}, {_utc(job['CreationTime'])}"
    url = str(job.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""))
    claims = {f"{PACKAGE}'s ModelDataUrl": subject.pin["ModelDataUrl"]}
    return replace(compared("training job", source, url, claims, "it made no model"), value=name)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def execution(subject: Subject) -> Link:
    arn = subject.execution_arn
    if not arn:
        return _not_said("execution")
    found = subject.sources.describe("DescribePipelineExecution", PipelineExecutionArn=arn)
    if found is None:
        return Link("execution", arn, PACKAGE, RECORDED, "it does not exist any more")
    status, started = found["PipelineExecutionStatus"], _utc(found["CreationTime"])
    source = f"DescribePipelineExecution: {status}, started {started}"
    made = [
        str(about["Arn"])
        for step in subject.sources.steps(arn)
        for about in step.get("Metadata", {}).values()
        if isinstance(about, dict) and "Arn" in about
    ]
    job = subject.metadata("TrainingJobName")
    if subject.package_arn not in made:
        return Link("execution", arn, source, FAILED, "none of its steps registered the package")
    if not job:
        note = "one of its steps registered the package, which names no training job"
        return Link("execution", arn, source, RECORDED, note)
    if not any(one.endswith(f"/{job}") for one in made):
        return Link("execution", arn, source, FAILED, "none of its steps is the training job")
    note = "its steps name the package and the training job"
    return Link("execution", arn, source, VERIFIED, note)


def definition(subject: Subject) -> Link:
    arn = subject.execution_arn
    claims = {
        PACKAGE: subject.metadata("DefinitionSha256"),
        LEDGER: subject.of_ledger("DefinitionSha256"),
    }
    source, answer = "DescribePipelineDefinitionForExecution", None
    if arn:
        answer = subject.sources.describe(source, PipelineExecutionArn=arn)
    found = definition_sha256(answer["PipelineDefinition"]) if answer else ""
    gone = "no execution to ask for it" if not answer else ""
    return compared("definition", f"sha256 of {source}", found, claims, gone)


def definition_sha256(text: str) -> str:
    """Return the sha256 of a definition: of its JSON with sorted keys, as run-pipeline takes it."""
    try:
        content = json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        content = text
    return hashlib.sha256(content.encode()).hexdigest()


def data(subject: Subject) -> Link:
    claims = {PACKAGE: subject.metadata("DataSha256"), LEDGER: subject.of_ledger("DataSha256")}
    url = _data_url(subject)
    if not url:
        return compared("data", PACKAGE, "", claims, "the package does not say where they are")
    bucket, prefix = parts(url)
    keys = subject.sources.keys(bucket, prefix)
    keys = [prefix] if prefix in keys else keys
    if len(keys) != 1:
        gone = f"{len(keys)} objects are there" if keys else "they are gone"
        return compared("data", url, "", claims, gone)
    found = subject.sources.sha256(f"s3://{bucket}/{keys[0]}")
    return compared("data", f"sha256 of s3://{bucket}/{keys[0]}", found, claims)


def _data_url(subject: Subject) -> str:
    """Return InputDataUrl; one that does not fit the metadata is in provenance.json."""
    url = subject.metadata("InputDataUrl")
    if url.startswith("s3://") or not url:
        return url
    try:
        provenance = subject.sources.body(f"{subject.evaluation_folder}/provenance.json")
        url = str(json.loads(provenance or b"{}")["data"]["url"])
        return url if url.startswith("s3://") else ""
    except (ValueError, LookupError, TypeError):
        return ""


def commit(subject: Subject) -> Link:
    value, recorded = subject.metadata("GitCommit"), subject.of_ledger("GitCommit")
    link = compared("commit", PACKAGE, value, {LEDGER: recorded}, "the package does not say")
    if link.status == FAILED:
        return link
    known = link.value
    if known == "unknown":
        return Link("commit", known, PACKAGE, RECORDED, "it was not known")
    sha = known.removesuffix(DIRTY)
    if not COMMIT_ID.fullmatch(sha):
        return Link("commit", known, PACKAGE, RECORDED, "it is not the id of a commit")
    found = subject.sources.has_commit(sha)
    if found is None:
        return Link("commit", known, PACKAGE, RECORDED, "there is no git repository here")
    if not found:
        return Link("commit", known, PACKAGE, RECORDED, "it is not in the git repository here")
    if is_uncommitted(known):
        note = "with changes that were not committed"
        return Link("commit", known, "git cat-file", RECORDED, note)
    return Link("commit", known, "git cat-file", VERIFIED, "in the git repository here")


def model_card(subject: Subject) -> Link:
    card = subject.package.get("ModelCard") or {}
    if not card:
        return _not_said("model card")
    try:
        content = json.loads(card["ModelCardContent"])
        owner = content.get("additional_information", {}).get("custom_details", {}).get("owner")
    except (ValueError, LookupError, TypeError, AttributeError):
        owner = None
    value = f"{card.get('ModelCardStatus', '')}, owner {owner or 'not named'}"
    return Link("model card", value, "DescribeModelPackage: ModelCard", RECORDED)


def _not_said(name: str) -> Link:
    return Link(name, "unknown", PACKAGE, RECORDED, "the package does not say")


LinkOf: TypeAlias = Callable[[Subject], Link]
CHAIN: tuple[LinkOf, ...] = (
    ledger,
    endpoint_config,
    model,
    package,
    artifact,
    approver,
    evaluation,
    samples,
    training_job,
    execution,
    definition,
    data,
    commit,
    model_card,
)


def chain(subject: Subject) -> list[Link]:
    """Return the links of a deployment, from what serves to the commit."""
    return [link_of(subject) for link_of in CHAIN]
