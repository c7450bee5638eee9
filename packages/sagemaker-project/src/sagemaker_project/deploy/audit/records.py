"""Captured requests and answers, as SageMaker's data capture writes them to S3.

    <DestinationS3Uri>/<endpoint>/<variant>/yyyy/mm/dd/hh/<file>.jsonl

`deploy-model` ends DestinationS3Uri with the name of the endpoint configuration, so the folder says
which version answered, also while a canary serves two.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sagemaker_project.deploy.audit.sources import Sources, parts
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.config import endpoint_config_members
from sagemaker_project.errors import UsageError

ENCODINGS = ("CSV", "JSON", "BASE64")
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
# The folder has the hour of a request, of which the container may take a minute to answer.
LONGEST_REQUEST = timedelta(minutes=1)
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(?=Z?$)")


@dataclass(frozen=True)
class Payload:
    """A captured body."""

    content_type: str
    data: bytes


@dataclass(frozen=True)
class Record:
    """A line of a capture file; `request` and `answer` are None where it does not have them.

    `problem` says why a line cannot be read at all, so that nothing says which request it is of;
    `fault` what is wrong with a record whose metadata can be read.
    """

    config: str
    variant: str
    source: str
    inference_id: str = ""
    event_id: str = ""
    time: str = ""  # UTC, ISO 8601, to the second
    request: Payload | None = None
    answer: Payload | None = None
    problem: str = ""
    fault: str = ""


def folder_of(sources: Sources, deployment: Members) -> str:
    """Return where a deployment captures; '' where it does not.

    Of a configuration that was deleted, it is where the settings have it today.
    """
    name, target = deployment["EndpointConfigName"], sources.target
    config, _ = sources.endpoint_config(deployment)
    if config:
        destination = config.get("DataCaptureConfig", {}).get("DestinationS3Uri", "").rstrip("/")
    else:
        settings = endpoint_config_members(target.config, target.bucket, target.endpoint)
        root = settings.get("DataCaptureConfig", {}).get("DestinationS3Uri", "").rstrip("/")
        destination = f"{root}/{name}" if root else ""
    # Earlier versions of this package let all configurations share a folder.
    return f"{destination}/{target.endpoint}" if destination.endswith(f"/{name}") else ""


def captured(sources: Sources, deployment: Members, folder: str, at: str = "") -> Iterator[Record]:
    """Yield every record of a deployment, in the order of the files.

    Records with the same eventId all have a fault: SageMaker gives each request another one.

    Args:
        at: only files of this hour, and of the ones before and after, are read.
    """
    bucket, prefix = parts(folder)
    keys = [key for key in sources.keys(bucket, f"{prefix}/") if key.endswith(".jsonl")]
    if at:
        keys = [key for key in keys if any(hour in key for hour in _hours_around(at))]
    records = list(_records(sources, deployment["EndpointConfigName"], bucket, prefix, keys))
    events = Counter(record.event_id for record in records if not record.problem)
    for record in records:
        if not record.fault and events[record.event_id] > 1:
            fault = f"{events[record.event_id]} records have the eventId {record.event_id}"
            record = replace(record, fault=fault)
        yield record


def _records(
    sources: Sources, config: str, bucket: str, prefix: str, keys: Sequence[str]
) -> Iterator[Record]:
    for key, body in zip(keys, sources.bodies(bucket, keys), strict=True):
        folder, _, _ = key.removeprefix(f"{prefix}/").rpartition("/")
        variant, _, hour = folder.partition("/")
        for number, line in enumerate(body.splitlines(), start=1):
            yield _record(config, variant, f"s3://{bucket}/{key} line {number}", line, hour)


def _hours_around(at: str) -> Iterator[str]:
    moment = datetime.fromisoformat(at)
    for hours in (-1, 0, 1):
        with suppress(OverflowError):  # there is no hour before the year 1, or after 9999
            yield f"/{moment + timedelta(hours=hours):%Y/%m/%d/%H}/"


def _record(config: str, variant: str, where: str, line: bytes, hour: str) -> Record:
    try:
        content = strict_json(line)
        about = content["eventMetadata"]
        record = Record(
            config,
            variant,
            where,
            inference_id=_text(about.get("inferenceId") or ""),
            event_id=_text(about["eventId"]),
            time=_text(about["inferenceTime"]),
        )
    except UNREADABLE as error:
        return Record(config, variant, where, problem=f"not a captured record ({error!r})")
    try:
        if not _within(record.time, hour):
            return replace(record, fault=f"its inferenceTime is {record.time}")
        data = content["captureData"]
        request, answer = _payload(data.get("endpointInput")), _payload(data.get("endpointOutput"))
        return replace(record, request=request, answer=answer)
    except UNREADABLE as error:
        return replace(record, fault=f"not a captured record ({error!r})")


def strict_json(data: bytes) -> Any:
    """Return what JSON says; raise ValueError if an object has two members of one name."""
    return json.loads(data, object_pairs_hook=_unique)


def _unique(members: list[tuple[str, Any]]) -> Members:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has two members of one name")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    value.encode()  # half of a surrogate pair cannot be written to the report
    return value


def _within(time: str, hour: str) -> bool:
    """Whether a captured UTC time fits its folder, yyyy/mm/dd/hh."""
    since = datetime.fromisoformat(time.removesuffix("Z")) - datetime.strptime(hour, "%Y/%m/%d/%H")
    return -LONGEST_REQUEST <= since <= timedelta(hours=1) + LONGEST_REQUEST


def _payload(item: Any) -> Payload | None:
    if item is None:
        return None
    text, encoding = _text(item["data"]), item["encoding"]
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding {encoding!r:.80}, expected one of {', '.join(ENCODINGS)}")
    data = base64.b64decode(text, validate=True) if encoding == "BASE64" else text.encode()
    return Payload(_text(item.get("observedContentType") or ""), data)


def check_time(at: str) -> str:
    """Return --at without its zone; raise UsageError unless it is a minute or second in UTC."""
    found = AT.match(at)
    try:
        datetime.fromisoformat(found[0] if found else "")
    except ValueError:
        raise UsageError(
            f"--at {at!r}: expected UTC as 2026-01-31T23:59 (that minute) or 2026-01-31T23:59:58"
            " (that second)"
        ) from None
    assert found is not None  # an empty text is no time
    return found[0]
