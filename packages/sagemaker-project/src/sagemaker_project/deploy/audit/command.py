"""`deploy-model audit`: audit one prediction, one version, or everything that a stage served."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sagemaker_project.deploy.audit.anew import made_anew
from sagemaker_project.deploy.audit.chain import Subject, chain
from sagemaker_project.deploy.audit.link import RECORDED, Link, failed
from sagemaker_project.deploy.audit.records import Record, captured, check_time, folder_of
from sagemaker_project.deploy.audit.report import report_html
from sagemaker_project.deploy.audit.sources import Sources
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.endpoint_test_command import write_files
from sagemaker_project.errors import Refused, UsageError


@dataclass(frozen=True)
class Audit:
    """The links of one deployment and variant, and the last link of each of its records."""

    subject: Subject
    links: Sequence[Link]
    records: Sequence[Record]
    anew: Sequence[Link]

    @property
    def failed(self) -> list[Link]:
        return failed([*self.links, *self.anew])

    def described(self) -> Members:
        return {
            "EndpointConfigName": self.subject.config,
            "VariantName": self.subject.variant,
            "ModelPackageArn": self.subject.package_arn,
            "Links": [link.described() for link in self.links],
            "Predictions": [
                {
                    "InferenceId": record.inference_id,
                    "EventId": record.event_id,
                    "Time": record.time,
                    "Captured": record.source,
                    **link.described(),
                }
                for record, link in zip(self.records, self.anew, strict=True)
            ],
        }


def audit(context: Context) -> Members:
    """Audit what the request names, and write the report; nothing in AWS is changed."""
    with Sources(context) as sources:
        about, damage = _about(context), sources.damage()
        try:
            audits = list(_audits(sources))
        except Refused as refused:  # what is looked for may be in an entry that cannot be read
            newer = sources.damage(newer=True)
            if not damage:
                raise Refused("; ".join(filter(None, [str(refused), newer]))) from None
            audits = []
        content: Members = {
            "Stage": context.target.stage,
            "EndpointName": context.target.endpoint,
            "Subject": about,
            "Time": context.aws.now().isoformat(timespec="seconds"),
            "AuditedBy": context.aws.caller,
            **_verdict(about, audits, damage),
            "Audits": [one.described() for one in audits],
        }
    body = (json.dumps(content, indent=2) + "\n").encode()
    path = Path("reports") / f"{context.target.endpoint}-audit" / "report.json"
    try:
        page = write_files(path, body, report_html(content).encode())
    except OSError as error:
        raise UsageError(f"the report cannot be written: {error}") from None
    return {**content, "Report": str(page)}


def _audits(sources: Sources) -> Iterator[Audit]:
    request = sources.context.request
    if request.audit == "prediction":
        yield from _of_prediction(sources, request.audited, request.at)
    elif request.audit == "version":
        yield from _of_version(sources, int(request.audited))
    else:
        yield from _of_stage(sources)


def _of_prediction(sources: Sources, inference_id: str, at: str) -> Iterator[Audit]:
    at = check_time(at) if at else ""
    folders = {name: folder_of(sources, d) for name, d in sources.deployments.items()}
    records, unreadable = list[Record](), list[Record]()
    for name, folder in folders.items():
        for record in captured(sources, sources.deployments[name], folder, at) if folder else ():
            if record.problem:
                unreadable.append(record)
            elif record.inference_id == inference_id and record.time.startswith(at):
                records.append(record)
    if not records and not unreadable:
        places = ", ".join(filter(None, folders.values())) or "no deployment captures data"
        capture = sources.target.config.content.get("DataCaptureConfig", {"EnableCapture": False})
        share = capture["InitialSamplingPercentage"] if capture.get("EnableCapture", True) else 0
        raise Refused(
            f"no captured record has the inference id {inference_id!r}{f' at {at}' if at else ''};"
            f" looked in {places}. {sources.target.stage} captures {share} % of its requests, and"
            " SageMaker writes captured data with a delay of minutes"
        )
    yield from _of_records(sources, records or unreadable)


def _of_version(sources: Sources, version: int) -> Iterator[Audit]:
    deployments = sources.deployments.values()
    found = [d for d in deployments if d["ModelPackageVersion"] == version]
    if not found:
        others = ", ".join(sorted({str(d["ModelPackageVersion"]) for d in deployments})) or "none"
        stage = sources.target.stage
        raise Refused(f"version {version} was never deployed to {stage}; deployed were: {others}")
    for deployment in found:
        yield _one(Subject(sources, deployment), [])


def _of_stage(sources: Sources) -> Iterator[Audit]:
    if not sources.deployments:
        raise Refused(f"nothing was ever deployed to {sources.target.stage}")
    for deployment in sources.deployments.values():
        folder = folder_of(sources, deployment)
        records = list(captured(sources, deployment, folder)) if folder else []
        if records:
            yield from _of_records(sources, records)
        else:
            yield _one(Subject(sources, deployment), [])


def _of_records(sources: Sources, records: Iterable[Record]) -> Iterator[Audit]:
    """Audit records that one variant of one deployment answered together: that is fast."""
    groups = defaultdict[tuple[str, str], list[Record]](list)
    for record in records:
        groups[record.config, record.variant].append(record)
    for (config, variant), group in groups.items():
        yield _one(Subject(sources, sources.deployments[config], variant), group)


def _one(subject: Subject, records: Sequence[Record]) -> Audit:
    return Audit(subject, chain(subject), records, made_anew(subject, records))


def _about(context: Context) -> str:
    request = context.request
    return " ".join(filter(None, [request.audit, request.audited, request.at]))


def _verdict(about: str, audits: Sequence[Audit], damage: str) -> Members:
    """Return Outcome and Message, which names the links that failed."""
    if not audits:
        return {"Outcome": "Failed", "Message": f"audit of {about}: FAILED: ledger: {damage}"}
    links = [link for one in audits for link in (*one.links, *one.anew)]
    wrong = [link for one in audits for link in one.failed]
    if wrong:
        first = "; ".join(f"{link.name}: {link.note}" for link in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return {"Outcome": "Failed", "Message": f"audit of {about}: FAILED: {first}{more}"}
    recorded = sum(link.status == RECORDED for link in links)
    verified = len(links) - recorded
    message = f"audit of {about}: {verified} links verified, {recorded} only recorded, none failed"
    return {"Outcome": "Audited", "Message": message}
