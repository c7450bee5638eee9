"""Print the result of a `deploy-model` command: tables on a terminal, plain columns elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sagemaker_project.deploy.audit.report import text_rows

Result: TypeAlias = Mapping[str, Any]  # what --json prints
Row: TypeAlias = Sequence[str]


def show(command: str, result: Result) -> None:
    """Print what `command` returned."""
    shown = {"plan": _plan, "status": _status, "history": _history, "audit": _audit}
    shown.get(command, _message)(result)


def _message(result: Result) -> None:
    print(result["Message"])
    for name in ("ModelPackageArn", "EndpointConfigName", "Report"):
        if result.get(name):
            print(f"{name:<20}{result[name]}")
    for item in result.get("Deleted", []):
        print(f"{item['Operation']:<22}{item['Resource']}")


def _plan(result: Result) -> None:
    for note in result["Notes"]:
        print(note)
    rows = [
        (str(number), call["Service"], call["Operation"], call["Resource"])
        for number, call in enumerate(result["Calls"], start=1)
    ]
    _table(("", "service", "call", "resource"), rows)
    print(result["Message"])
    if token := result.get("PlanToken"):
        print(f"to make exactly these calls: deploy-model promote ... --plan-token {token}")


def _status(result: Result) -> None:
    print(result["Message"])
    rows = [("endpoint", result["EndpointName"]), *_deployment_rows(result)]
    for variant in result.get("Variants", []):
        count = variant["InstanceCount"]
        size = f", {count} instance(s)" if count else ""
        rows.append((f"variant {variant['VariantName']}", f"weight {variant['Weight']:g}{size}"))
    rows += [(f"alarm {name}", state) for name, state in result.get("Alarms", {}).items()]
    if pending := result.get("Pending"):
        rows.append(("interrupted", f"{pending['Action']} of {pending['Time'][:16]}: run it again"))
    if result.get("FailureReason"):
        rows.append(("reason", result["FailureReason"]))
    if result.get("Recovery"):
        rows.append(("what to do", result["Recovery"]))
    rows += [("changed by hand", text) for text in result.get("Drift", [])]
    _table(None, rows)


def _deployment_rows(result: Result) -> list[tuple[str, str]]:
    current, before = result.get("Current"), result.get("RollbackTarget")
    rows = []
    for name, deployment in (("serves", current), ("a rollback leads to", before)):
        if deployment:
            version = f"version {deployment['ModelPackageVersion']}"
            rows.append((name, f"{version}  {deployment['EndpointConfigName']}"))
    if current:
        approval = current["Approval"]
        rows.append(("approved by", f"{approval['By']} at {approval['Time'][:16]}"))
        rows.append(("commit", current["GitCommit"]))
    return rows


def _history(result: Result) -> None:
    rows = [
        (
            str(entry["Number"]),
            entry["Time"][:19].replace("T", " "),
            f"{entry['Kind']}{' (' + entry['Action'] + ')' if entry['Kind'] == 'Started' else ''}",
            entry["Version"],
            entry["EndpointConfigName"],
            entry["ApprovedBy"].rpartition("/")[2],
            entry["Note"],
        )
        for entry in result["Entries"]
    ]
    _table(("", "time (UTC)", "what", "version", "endpoint config", "approved by", "note"), rows)
    print(result["Message"])


def _audit(result: Result) -> None:
    print(result["Message"])
    print(f"{'Report':<20}{result['Report']}")
    one_by_one = result["Subject"].startswith("prediction ")
    for audit in result["Audits"]:
        print(f"\n{audit['EndpointConfigName']}  {audit['VariantName']}".rstrip())
        for status, link, value, source, note in text_rows(audit, one_by_one):
            about = "; ".join(filter(None, [source, note]))
            print(f"{status:<9} {link:<23} {value}{f' ({about})' if about else ''}")


def _table(header: Row | None, rows: Sequence[Row]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*(header or ("", "")), box=None, pad_edge=False, show_header=bool(header))
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    lines = [header, *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
