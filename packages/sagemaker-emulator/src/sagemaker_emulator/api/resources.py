"""What all resources have in common: they are created, described, listed, tagged and deleted.

A `Kind` describes how one kind of resource is named and what AWS answers where a name is in use or
missing; the rest is in the service model. An operation takes (sagemaker, request, region) and
returns the answer, or a stored document that holds it: SageMaker.call reduces it to the output
shape.
"""

import base64
import contextvars
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sagemaker_emulator.api.documents import Answer, Document, Json, Operation, Request
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.service_model import moment, partition
from sagemaker_emulator.errors import AlreadyExists, AwsError, invalid, unsupported

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

Item = TypeVar("Item")

# The caller, as the end of an ARN: a request's access key is taken as the name of its user.
CALLER = contextvars.ContextVar("caller", default="user/local")
NOT_PART = ("Tags", "ClientRequestToken", "ClientToken")
BOUND = re.compile("(CreationTime|Created|LastModifiedTime)(After|Before)")
MAX_TAGS = 50


@dataclass(frozen=True)
class Kind:
    """A kind of resource."""

    name: str  # Create<name>, Describe<name>, List<name>s, <name>Name, <name>Arn
    resource: str  # arn:aws:sagemaker:<region>:<account>:<resource>/<name>
    summaries: str  # the member that holds a list's items
    taken: tuple[str, str]  # (code, message) for a name in use
    missing: tuple[str, str]  # (code, message) for one not found
    newest_first: bool = False  # a list's default order
    # Members that AWS adds to a new resource; a function is called for the value.
    defaults: Mapping[str, Json | Callable[[], Json]] = field(default_factory=dict)

    def arn(self, region: str, name_or_arn: str) -> str:
        if name_or_arn.startswith("arn:"):
            return name_or_arn
        return arn(region, f"{self.resource}/{name_or_arn}")

    def not_found(self, missing_arn: str) -> AwsError:
        code, message = self.missing
        return AwsError(code, message.format(name=name_of(missing_arn), arn=missing_arn))


MODEL = Kind(
    name="Model",
    resource="model",
    summaries="Models",
    taken=("ValidationException", 'Cannot create already existing model "{arn}".'),
    missing=("ValidationException", 'Could not find model "{arn}".'),
    newest_first=True,
)


def identity() -> Document:
    """Return the caller for CreatedBy and LastModifiedBy, as the client names it, unverified."""
    caller = f"arn:aws:sts::{ACCOUNT}:{CALLER.get()}"
    return {"IamIdentity": {"Arn": caller, "PrincipalId": "sagemaker-local"}}


def arn(region: str, resource: str) -> str:
    return f"arn:{partition(region)}:sagemaker:{region}:{ACCOUNT}:{resource}"


def name_of(resource_arn: str) -> str:
    return resource_arn.partition("/")[2]


def region_of(resource_arn: str) -> str:
    return resource_arn.split(":")[3]


def standard_operations(kind: Kind) -> dict[str, Operation]:
    """Return the operations create, describe, list and delete of a kind without special rules."""
    return {
        f"Create{kind.name}": partial(create, kind),
        f"Describe{kind.name}": partial(find, kind),
        f"List{kind.name}s": partial(listing, kind),
        f"Delete{kind.name}": partial(delete, kind),
    }


def create(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Document:
    return insert(kind, sagemaker, request, kind.arn(region, request[f"{kind.name}Name"]))


def insert(
    kind: Kind, sagemaker: "SageMaker", request: Request, new_arn: str, **members: Json
) -> Document:
    """Store a new resource (the request's members, what AWS adds, tags) and return it."""
    now = time.time()
    document = {k: v for k, v in request.items() if k not in NOT_PART and v is not None}
    document |= {f"{kind.name}Arn": new_arn, "CreationTime": now, "LastModifiedTime": now}
    document |= {k: v() if callable(v) else v for k, v in kind.defaults.items()}
    document |= {"Tags": _tags([], request.get("Tags") or [])} | members
    try:
        sagemaker.store.insert(kind.name, new_arn, document)
    except AlreadyExists:
        code, message = kind.taken
        raise AwsError(code, message.format(name=name_of(new_arn), arn=new_arn)) from None
    return document


def find(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Document:
    """Return the resource that the request names; raise AwsError if it is missing."""
    found_arn = kind.arn(region, request[f"{kind.name}Name"])
    return find_by_arn(kind, sagemaker, found_arn)


def find_by_arn(kind: Kind, sagemaker: "SageMaker", found_arn: str) -> Document:
    """Return the resource of an ARN; raise AwsError if it is missing or of another kind."""
    document = sagemaker.store.get(found_arn)
    if document is None or f"{kind.name}Arn" not in document:
        raise kind.not_found(found_arn)
    return document


def delete(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Document:
    document = find(kind, sagemaker, request, region)
    sagemaker.store.delete(document[f"{kind.name}Arn"])
    return document


def listing(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    documents = sagemaker.store.list(kind.name, arn(region, f"{kind.resource}/"))
    return page(kind, documents, request)


def page(kind: Kind, documents: list[Document], request: Request) -> Answer:
    """Return one page of a list: filtered, sorted, with the token of the next one."""
    wanted = [d for d in documents if all(_fits(kind, d, k, v) for k, v in request.items())]
    order = "Descending" if kind.newest_first else "Ascending"
    member = _member(kind, request.get("SortBy") or "CreationTime")
    wanted.sort(key=lambda d: d[member])
    if (request.get("SortOrder") or order) == "Descending":
        wanted.reverse()
    return paginate(kind.summaries, wanted, request, key=lambda d: d[f"{kind.name}Arn"])


def paginate(
    summaries: str,
    items: list[Item],
    request: Request,
    key: Callable[[Item], str],
    default_size: int = 10,
) -> Answer:
    """Return the slice of `items` that a request asks for, and the token of the next one.

    A token is the key of the last item before the slice that it asks for.
    """
    start = 0
    tokens = [base64.urlsafe_b64encode(key(item).encode()).decode() for item in items]
    if token := request.get("NextToken"):
        if token not in tokens:
            raise invalid("Invalid NextToken: it is not one of this list's")
        start = tokens.index(token) + 1
    end = start + (request.get("MaxResults") or default_size)
    answer: Answer = {summaries: items[start:end]}
    return answer | {"NextToken": tokens[end - 1]} if end < len(items) else answer


def _fits(kind: Kind, document: Document, member: str, wanted: Json) -> bool:
    """Return whether a document passes a filter of a list's request."""
    if wanted is None or member in ("SortBy", "SortOrder", "MaxResults", "NextToken"):
        return True
    if member == "NameContains":
        return str(wanted).lower() in str(document[_member(kind, "Name")]).lower()
    if member == "PipelineNamePrefix":
        return str(document["PipelineName"]).startswith(wanted)
    if member == "StatusEquals":
        return bool(document[_member(kind, "Status")] == wanted)
    if bound := BOUND.fullmatch(member):
        time_member = "LastModifiedTime" if bound[1] == "LastModifiedTime" else "CreationTime"
        stored, limit = float(document[time_member]), moment(wanted)
        return stored > limit if bound[2] == "After" else stored < limit
    if member == "ModelApprovalStatus":
        return bool(document.get(member) == wanted)
    raise unsupported(f"List{kind.name}s with {member}")


def _member(kind: Kind, name: str) -> str:
    return f"{kind.name}{name}" if name in ("Name", "Status") else name


def refuse(operation: str, request: Request, *members: str) -> None:
    """Raise AwsError if a request has one of these members, which the emulator does not have."""
    for member in members:
        if request.get(member) is not None:
            raise unsupported(f"{operation} with {member}")


# Tags


def _tags(old: list[Document], new: list[Document]) -> list[Document]:
    """Return the old tags with the new ones added; raise AwsError for a tag that AWS refuses."""
    tags = {tag["Key"]: tag["Value"] for tag in old} | {tag["Key"]: tag["Value"] for tag in new}
    for key in tags:
        if key.lower().startswith("aws:"):
            raise invalid(f"Tag key '{key}' is reserved: a key may not start with 'aws:'")
    if len(tags) > MAX_TAGS:
        raise AwsError("ResourceLimitExceeded", f"A resource has at most {MAX_TAGS} tags")
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _tagged(sagemaker: "SageMaker", request: Request) -> Document:
    document = sagemaker.store.get(request["ResourceArn"])
    if document is None:
        raise invalid(f"Resource {request['ResourceArn']} does not exist")
    return document


def add_tags(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        tags = _tags(_tagged(sagemaker, request).get("Tags", []), request["Tags"])
        sagemaker.store.update(request["ResourceArn"], Tags=tags)
    return {"Tags": tags}


def list_tags(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    tags = _tagged(sagemaker, request).get("Tags", [])
    return paginate("Tags", tags, request, key=lambda tag: tag["Key"], default_size=50)


def delete_tags(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        tags = _tagged(sagemaker, request).get("Tags", [])
        kept = [tag for tag in tags if tag["Key"] not in request["TagKeys"]]
        sagemaker.store.update(request["ResourceArn"], Tags=kept)
    return {}


OPERATIONS: dict[str, Operation] = {
    **standard_operations(MODEL),
    "AddTags": add_tags,
    "ListTags": list_tags,
    "DeleteTags": delete_tags,
}
