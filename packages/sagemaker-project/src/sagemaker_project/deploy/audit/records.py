"""Captured requests and answers, as SageMaker's data capture writes them to S3.

    <DestinationS3Uri>/<endpoint>/<variant>/yyyy/mm/dd/hh/<file>.jsonl

`deploy-model` ends DestinationS3Uri with the name of the endpoint configuration, so the folder says
which version answered, also while a canary serves two.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sagemaker_project.deploy.audit.sources import Sources, parts
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.config import endpoint_config_members
from sagemaker_project.errors import UsageError

AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(?=Z?$)")


@dataclass(frozen=True)
class Payload:
    """A captured body."""

    content_type: str
    data: bytes


@dataclass(frozen=True)
class Record:
    """A line of a capture file; `problem` says what is wrong with one that cannot be read.

    `request` and `answer` are None where the settings do not capture them.
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

    Args:
        at: only files of this hour, and of the ones before and after, are read.
    """
    bucket, prefix = parts(folder)
    keys = [key for key in sources.keys(bucket, f"{prefix}/") if key.endswith(".jsonl")]
    if at:
        keys = [key for key in keys if any(hour in key for hour in _hours_around(at))]
    for key, body in zip(keys, sources.bodies(bucket, keys), strict=True):
        variant = key.removeprefix(f"{prefix}/").partition("/")[0]
        for number, line in enumerate(body.splitlines(), start=1):
            where = f"s3://{bucket}/{key} line {number}"
            yield _record(deployment["EndpointConfigName"], variant, where, line)


def _hours_around(at: str) -> list[str]:
    moment = datetime.fromisoformat(at)
    return [f"/{moment + timedelta(hours=hours):%Y/%m/%d/%H}/" for hours in (-1, 0, 1)]


def _record(config: str, variant: str, where: str, line: bytes) -> Record:
    try:
        content = json.loads(line)
        data, about = content["captureData"], content["eventMetadata"]
        return Record(
            config,
            variant,
            where,
            inference_id=str(about.get("inferenceId", "")),
            event_id=str(about["eventId"]),
            time=str(about["inferenceTime"]),
            request=_payload(data.get("endpointInput")),
            answer=_payload(data.get("endpointOutput")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return Record(config, variant, where, problem=f"not a captured record ({error!r})")


def _payload(item: Any) -> Payload | None:
    if item is None:
        return None
    text, encoding = item["data"], item["encoding"]
    data = base64.b64decode(text, validate=True) if encoding == "BASE64" else text.encode()
    return Payload(item.get("observedContentType") or "", data)


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
