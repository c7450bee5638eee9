"""What all resources have in common: they are created, described, listed, tagged and deleted.

A `Kind` says how one resource is named and what AWS answers in the two cases that go wrong; the
service model says the rest. An operation's handler takes (sagemaker, request, region) and returns
the answer, or a stored document that holds it: the caller trims it to the output shape.
"""

import base64
import contextvars
import re
import time
from dataclasses import dataclass, field
from functools import partial

from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.service_model import moment, partition
from sagemaker_emulator.api.store import AlreadyExists
from sagemaker_emulator.errors import AwsError, invalid

# On whose behalf a thread acts: a request is signed with an access key, which is taken as a name.
CALLER = contextvars.ContextVar("caller", default="user/local")
NOT_PART = ("Tags", "ClientRequestToken", "ClientToken")
BOUND = re.compile("(CreationTime|Created|LastModifiedTime)(After|Before)")
MAX_TAGS = 50


@dataclass(frozen=True)
class Kind:
    name: str  # Create<name>, Describe<name>, List<name>s, <name>Name, <name>Arn
    resource: str  # arn:aws:sagemaker:<region>:<account>:<resource>/<name>
    summaries: str  # the member that holds a list's items
    taken: tuple  # (code, message) for a name in use
    missing: tuple  # (code, message) for one not found
    newest_first: bool = False  # a list's default order
    born: dict = field(default_factory=dict)  # members that AWS fills in; a function is called

    def arn(self, region, name_or_arn):
        if name_or_arn.startswith("arn:"):
            return name_or_arn
        return arn(region, f"{self.resource}/{name_or_arn}")

    def not_found(self, found_arn):
        code, message = self.missing
        return AwsError(code, message.format(name=name_of(found_arn), arn=found_arn))


MODEL = Kind(
    name="Model",
    resource="model",
    summaries="Models",
    taken=("ValidationException", 'Cannot create already existing model "{arn}".'),
    missing=("ValidationException", 'Could not find model "{arn}".'),
    newest_first=True,
)


def identity():
    """Who calls, as CreatedBy and LastModifiedBy tell it; nothing checks that it is true."""
    caller = f"arn:aws:sts::{ACCOUNT}:{CALLER.get()}"
    return {"IamIdentity": {"Arn": caller, "PrincipalId": "sagemaker-local"}}


def arn(region, resource):
    return f"arn:{partition(region)}:sagemaker:{region}:{ACCOUNT}:{resource}"


def name_of(resource_arn):
    return resource_arn.partition("/")[2]


def region_of(resource_arn):
    return resource_arn.split(":")[3]


def plain(kind):
    """The operations that need no behaviour of their own."""
    return {
        f"Create{kind.name}": partial(create, kind),
        f"Describe{kind.name}": partial(find, kind),
        f"List{kind.name}s": partial(listing, kind),
        f"Delete{kind.name}": partial(delete, kind),
    }


def create(kind, sagemaker, request, region):
    return insert(kind, sagemaker, request, kind.arn(region, request[f"{kind.name}Name"]))


def insert(kind, sagemaker, request, new_arn, **members):
    """Store a new resource: the request's members, what AWS adds, and its tags."""
    now = time.time()
    document = {k: v for k, v in request.items() if k not in NOT_PART and v is not None}
    document |= {f"{kind.name}Arn": new_arn, "CreationTime": now, "LastModifiedTime": now}
    document |= {k: v() if callable(v) else v for k, v in kind.born.items()}
    document |= {"Tags": _tags([], request.get("Tags") or [])} | members
    try:
        sagemaker.store.insert(kind.name, new_arn, document)
    except AlreadyExists:
        code, message = kind.taken
        raise AwsError(code, message.format(name=name_of(new_arn), arn=new_arn)) from None
    return document


def find(kind, sagemaker, request, region):
    found_arn = kind.arn(region, request[f"{kind.name}Name"])
    return found(kind, sagemaker, found_arn)


def found(kind, sagemaker, found_arn):
    document = sagemaker.store.get(found_arn)
    if document is None or f"{kind.name}Arn" not in document:
        raise kind.not_found(found_arn)
    return document


def delete(kind, sagemaker, request, region):
    document = find(kind, sagemaker, request, region)
    sagemaker.store.delete(document[f"{kind.name}Arn"])
    return document


def listing(kind, sagemaker, request, region):
    documents = sagemaker.store.list(kind.name, arn(region, f"{kind.resource}/"))
    return page(kind, documents, request)


def page(kind, documents, request):
    """One page of a list: filtered, sorted, and where the next one starts."""
    wanted = [d for d in documents if all(_fits(kind, d, k, v) for k, v in request.items())]
    order = "Descending" if kind.newest_first else "Ascending"
    member = _member(kind, request.get("SortBy") or "CreationTime")
    wanted.sort(key=lambda d: d[member])
    if (request.get("SortOrder") or order) == "Descending":
        wanted.reverse()
    return cut(kind.summaries, wanted, request, key=lambda d: d[f"{kind.name}Arn"])


def cut(summaries, items, request, key, default_size=10):
    """The slice of `items` a request asks for; its token names the last item already given."""
    start = 0
    tokens = [base64.urlsafe_b64encode(key(item).encode()).decode() for item in items]
    if token := request.get("NextToken"):
        if token not in tokens:
            raise invalid("Invalid NextToken: it is not one of this list's")
        start = tokens.index(token) + 1
    end = start + (request.get("MaxResults") or default_size)
    more = {"NextToken": tokens[end - 1]} if end < len(items) else {}
    return {summaries: items[start:end], **more}


def _fits(kind, document, member, wanted):
    if wanted is None or member in ("SortBy", "SortOrder", "MaxResults", "NextToken"):
        return True
    if member == "NameContains":
        return wanted.lower() in document[_member(kind, "Name")].lower()
    if member == "PipelineNamePrefix":
        return document["PipelineName"].startswith(wanted)
    if member == "StatusEquals":
        return document[_member(kind, "Status")] == wanted
    if bound := BOUND.fullmatch(member):
        stored = document["LastModifiedTime" if bound[1] == "LastModifiedTime" else "CreationTime"]
        return stored > moment(wanted) if bound[2] == "After" else stored < moment(wanted)
    if member == "ModelApprovalStatus":
        return document.get(member) == wanted
    raise lacking(f"List{kind.name}s with {member}")


def _member(kind, name):
    return f"{kind.name}{name}" if name in ("Name", "Status") else name


def lacking(what):
    """For what AWS has and this does not: said by name, instead of an answer made up."""
    return AwsError(
        "UnsupportedOperation",
        f"sagemaker_emulator does not have {what}. `sagemaker-local operations` lists what it has.",
    )


def refuse(operation, request, *members):
    for member in members:
        if request.get(member) is not None:
            raise lacking(f"{operation} with {member}")


# Tags


def _tags(old, new):
    tags = {tag["Key"]: tag["Value"] for tag in old} | {tag["Key"]: tag["Value"] for tag in new}
    for key in tags:
        if key.lower().startswith("aws:"):
            raise invalid(f"Tag key '{key}' is reserved: a key may not start with 'aws:'")
    if len(tags) > MAX_TAGS:
        raise AwsError("ResourceLimitExceeded", f"A resource has at most {MAX_TAGS} tags")
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _tagged(sagemaker, request):
    document = sagemaker.store.get(request["ResourceArn"])
    if document is None:
        raise invalid(f"Resource {request['ResourceArn']} does not exist")
    return document


def add_tags(sagemaker, request, region):
    with sagemaker.store.lock:
        tags = _tags(_tagged(sagemaker, request).get("Tags", []), request["Tags"])
        sagemaker.store.update(request["ResourceArn"], Tags=tags)
    return {"Tags": tags}


def list_tags(sagemaker, request, region):
    tags = _tagged(sagemaker, request).get("Tags", [])
    return cut("Tags", tags, request, key=lambda tag: tag["Key"], default_size=50)


def delete_tags(sagemaker, request, region):
    with sagemaker.store.lock:
        tags = _tagged(sagemaker, request).get("Tags", [])
        kept = [tag for tag in tags if tag["Key"] not in request["TagKeys"]]
        sagemaker.store.update(request["ResourceArn"], Tags=kept)
    return {}


OPERATIONS = {
    **plain(MODEL),
    "AddTags": add_tags,
    "ListTags": list_tags,
    "DeleteTags": delete_tags,
}
