"""Read the ledger of a stage, and say what is wrong with it.

Commands that change something need an intact ledger. Those that only show something go on with the
entries that are intact; `status` shows the damage itself, the others warn.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger import Head, entry_key
from sagemaker_project.deploy.ledger_read import Damage, Examined, examine
from sagemaker_project.deploy.target import Target
from sagemaker_project.errors import LedgerError

Tags = Mapping[str, str] | None
ENTRY_NAME = re.compile(r"([0-9]{8})\.json")


def examine_ledger(context: Context, target: Target, tags: Tags = None) -> Examined:
    """Read the ledger of a stage, and warn of what is damaged and of what is no part of it.

    Args:
        tags: of the stage's endpoint; None where they are to be read.
    """
    examined = read_ledger(context, target, tags)
    for damage in examined.damage:
        context.warn(f"{_address(target, damage)}: {damage.why}. {way_out(target, [damage])}")
    return examined


def intact_ledger(context: Context, target: Target, tags: Tags = None) -> Examined:
    """Read the ledger of a stage, of which nothing may be damaged.

    Raises:
        LedgerError: something is.
    """
    examined = read_ledger(context, target, tags)
    if examined.damage:
        first, *others = examined.damage
        more = f" (and so are entries {_numbers(others)})" if others else ""
        raise LedgerError(
            f"{_address(target, first)}: damaged or changed by hand: {first.why}{more}."
            f" Nothing was done. {way_out(target, examined.damage)}"
        )
    return examined


def read_ledger(context: Context, target: Target, tags: Tags = None) -> Examined:
    """Read the ledger of a stage, and warn of objects in its folder that are no entries."""
    folder, aws = f"{target.ledger_folder}/", context.aws
    if tags is None:  # before the ledger, which may grow meanwhile
        endpoint = aws.endpoint(target.endpoint)
        tags = aws.tags(endpoint["EndpointArn"]) if endpoint else {}
    objects = aws.pages("s3", "ListObjectsV2", "Contents", Bucket=target.bucket, Prefix=folder)
    keys, strays = {}, []
    for item in objects:
        if found := ENTRY_NAME.fullmatch(item["Key"].removeprefix(folder)):
            keys[int(found[1])] = item["Key"]
        else:
            strays.append(item["Key"])
    with ThreadPoolExecutor(max_workers=8) as pool:
        bodies = list(
            pool.map(lambda key: aws.get_object(target.bucket, key) or b"", keys.values())
        )
    examined = examine(
        dict(zip(keys, bodies, strict=True)),
        Head.of(tags),
        lambda number: entry_key(target.name, target.stage, number),
    )
    if strays := sorted([*strays, *examined.strays]):
        names = ", ".join(key.removeprefix(folder) or "its folder marker" for key in strays)
        context.warn(f"s3://{target.bucket}/{folder} has what is no ledger entry; ignored: {names}")
    return examined


def accept_command(target: Target, damage: Sequence[Damage], reason: str = "TEXT") -> str:
    """Return the command that sets damaged entries aside."""
    numbers = (str(one.number) for one in damage)
    return target.command(f"ledger accept {' '.join(numbers)}", "--reason", reason)


def way_out(target: Target, damage: Sequence[Damage]) -> str:
    """Say what to do; an entry that a newer version wrote is not to be set aside."""
    damage = [one for one in damage if not one.newer]
    if not damage:
        return "Do so, then run again"
    return (
        f"Restore the object ({target.list_versions(damage[0].key)} shows earlier versions), or go"
        f" on without it: {accept_command(target, damage)}"
    )


def _address(target: Target, damage: Damage) -> str:
    return f"s3://{target.bucket}/{damage.key}: entry {damage.number}"


def _numbers(damage: Sequence[Damage]) -> str:
    return ", ".join(str(one.number) for one in damage)
