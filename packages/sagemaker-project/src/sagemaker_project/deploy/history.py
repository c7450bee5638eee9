"""`deploy-model history`: what happened to a stage, from the entries of its ledger."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger import Entry
from sagemaker_project.deploy.ledger_look import examine_ledger

WIDTH = 60


def history(context: Context) -> Members:
    """Return a row for each intact entry of the stage's ledger, oldest first, and its damage."""
    ledger, damage, _ = examine_ledger(context, context.target)
    count, last = len(ledger.entries), context.request.last
    message = f"{count} entries, each follows the one before it unchanged"
    if damage or ledger.set_aside:
        message = f"{count} intact entries"
        message += _numbers("damaged", (one.number for one in damage))
        message += _numbers("set aside", ledger.set_aside)
    oldest = ledger.next_number - last if last else 0
    return {
        "Outcome": "Read",
        "Message": message,
        "Entries": [_row(entry) for entry in ledger.entries if entry["Number"] >= oldest],
        "Damage": [one.described() for one in damage if one.last >= oldest],
        "SetAside": [
            {"Entry": number, "SetAsideBy": entry["Number"]}
            for number, entry in sorted(ledger.set_aside.items())
            if number >= oldest
        ],
    }


def _numbers(what: str, numbers: Iterable[int]) -> str:
    listed = ", ".join(map(str, sorted(numbers)))
    return f"; {what}: {listed}" if listed else ""


def _row(entry: Entry) -> Members:
    about = entry.get("Deployment") or entry.get("Test") or {}
    arn = about.get("ModelPackageArn", "")
    return {
        "Number": entry["Number"],
        "Time": entry["Time"],
        "Kind": entry["Kind"],
        "Action": entry.get("Action", ""),
        "Version": arn.rpartition("/")[2],
        "ModelPackageArn": arn,
        "EndpointConfigName": about.get("EndpointConfigName", ""),
        "By": entry["By"],
        "ApprovedBy": (about.get("Approval") or {}).get("By", ""),
        "GitCommit": about.get("GitCommit", ""),
        "Note": _note(entry),
    }


def _note(entry: Entry) -> str:
    reason = str(entry.get("Reason", ""))
    if entry["Kind"] == "Tested":
        return str(entry["Test"]["Status"])
    if entry["Kind"] == "SetAside":
        return f"entry {entry['Entry']}: {reason}"
    if reason:
        return reason
    deleted = sum(len(names) for names in entry.get("Deleted", {}).values())
    return f"{deleted} resources deleted" if deleted else ""


def show(result: Mapping[str, Any]) -> None:
    """Print the newest entry first: a line on what happened, and one on what it was about."""
    about = [(row["Number"], _text(row)) for row in result["Entries"]]
    about += [(one["Entry"], ("DAMAGED", one["Why"])) for one in result["Damage"]]
    about += [
        (one["Entry"], ("set aside", f"by entry {one['SetAsideBy']}")) for one in result["SetAside"]
    ]
    for number, (what, details) in sorted(about, reverse=True):
        for line in _lines(f"{number:>4}  {what}", details):
            print(line)
    print(result["Message"])


def _text(row: Members) -> tuple[str, str]:
    """Return the two lines of an entry, the second one as long as it is."""
    action = f" ({row['Action']})" if row["Kind"] == "Started" else ""
    version = f"  version {row['Version']}" if row["Version"] else ""
    who = f"by {_name(row['By'])}"
    if row["ApprovedBy"] and row["Kind"] == "Started":
        who = f"approved by {_name(row['ApprovedBy'])}"
    details = ", ".join(filter(None, [row["EndpointConfigName"], who, row["Note"]]))
    return f"{row['Time'][:19].replace('T', ' ')}  {row['Kind']}{action}{version}", details


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _lines(first: str, rest: str) -> Iterator[str]:
    """Yield both texts in lines of at most WIDTH characters, with nothing left out."""
    yield from textwrap.wrap(first, WIDTH, break_on_hyphens=False)
    indent = "  "
    yield from textwrap.wrap(
        rest, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
