"""Print the result of a `deploy-model` command: tables on a terminal, plain columns elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sagemaker_project.deploy import history
from sagemaker_project.deploy.audit.report import text_rows

Result: TypeAlias = Mapping[str, Any]  # what --json prints
Row: TypeAlias = Sequence[str]


def show(command: str, result: Result) -> None:
    """Print what `command` returned, and the command to type next."""
    shown = {"plan": _plan, "status": _status, "history": history.show, "audit": _audit}
    shown.get(command, _message)(result)
    if following := result.get("Next") or result.get("Who"):
        print(f"next: {following}")


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


def _status(result: Result) -> None:
    from sagemaker_project.deploy import status_display

    status_display.show(result, lambda rows: _table(None, rows))


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
        from rich.table import Column, Table
        from rich.text import Text

        columns = [Column(name, overflow="fold") for name in header or ("", "")]
        table = Table(*columns, box=None, pad_edge=False, show_header=bool(header))
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    lines = [header, *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
