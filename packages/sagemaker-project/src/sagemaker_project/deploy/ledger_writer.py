"""Append entries to the ledger of a stage, and tag the endpoint with the last one."""

import json
from dataclasses import replace

from sagemaker_project.deploy import ledger as ledgers
from sagemaker_project.deploy.aws import Conflict
from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.lock import timestamp
from sagemaker_project.errors import Busy, LedgerError


def check_last(context: Context, ledger: Ledger) -> None:
    """Raise LedgerError unless the last entry is stored as this command knows it."""
    target, last = context.target, ledger.entries[-1]
    key = ledgers.entry_key(target.name, target.stage, last["Number"])
    body = context.aws.get_object(target.bucket, key)
    where = f"s3://{target.bucket}/{key}"
    if body != ledgers.encode(last):
        raise LedgerError(
            f"{where}: it was {'deleted' if body is None else 'replaced'} while this command ran."
            f" Restore it ({target.list_versions(key)} shows earlier versions), then run again"
        )


def append(
    context: Context, ledger: Ledger, kind: str, entry: Members, endpoint: Members | None
) -> Ledger:
    """Write an entry after the last one of `ledger`, and return the ledger with it.

    Where a command is killed before the tag is written, the ledger is longer than the tag says,
    which is no damage; the next entry is tagged again.

    Args:
        endpoint: what DescribeEndpoint said last, None where there was no endpoint.

    Raises:
        Busy: another command has written an entry of that number meanwhile.
    """
    target, aws = context.target, context.aws
    content = {
        "Version": ledgers.VERSION,
        "Number": ledger.next_number,
        "Previous": ledger.previous_sha256,
        "Kind": kind,
        "Time": timestamp(aws.now()),
        "By": aws.caller,
        **entry,
    }
    body = ledgers.encode(content)
    key = ledgers.entry_key(target.name, target.stage, ledger.next_number)
    members = {"Bucket": target.bucket, "Key": key, "Body": body, "IfNoneMatch": "*"}
    try:
        aws.change(Call("s3", "PutObject", members))
    except Conflict:
        raise Busy(
            f"{key}: another command has written to the ledger meanwhile: run again"
        ) from None
    longer = replace(ledger, entries=(*ledger.entries, json.loads(body)))
    if endpoint:
        arn = endpoint["EndpointArn"]
        aws.change(sagemaker("AddTags", {"ResourceArn": arn, "Tags": [longer.head.tag]}))
    return longer
