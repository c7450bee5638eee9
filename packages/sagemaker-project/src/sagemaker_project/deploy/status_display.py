"""Print what `deploy-model status` found: a table for each stage, and the next command.

With --watch a terminal shows the newest look in place of the one before; elsewhere each change is
one line.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, TypeAlias

from sagemaker_project.deploy.names import shown_commit
from sagemaker_project.deploy.traffic import MINUTES
from sagemaker_project.deploy.verdict import shown_time, worst_first

Result: TypeAlias = Mapping[str, Any]
Row: TypeAlias = tuple[str, str]
CLEAR = "\033[H\033[2J"


def show(result: Result, table: Callable[[list[Row]], None]) -> None:
    """Print the result of one look, the worst stage first.

    Args:
        table: prints rows in columns.
    """
    stages = worst_first(result.get("Stages") or [result])
    for number, stage in enumerate(stages):
        print(stage["Message"] if number == 0 else f"\n{stage['Message']}")
        table(list(rows(stage)))


def painter(in_json: bool, say: Callable[[str], None]) -> Callable[[Result], None]:
    """Return what shows a look that --watch takes, before the last one."""
    if sys.stdout.isatty() and not in_json:
        from sagemaker_project.deploy import display

        def draw(result: Result) -> None:
            print(CLEAR, end="")
            display.show("status", result)

        return draw
    last = ""

    def line(result: Result) -> None:
        nonlocal last
        text = "; ".join(map(_changing, result.get("Stages") or [result]))
        if text != last:
            say(text)
        last = text

    return line


def _changing(stage: Result) -> str:
    """Return a stage in one line, with the progress of its update."""
    update = stage["Update"]
    progress = f"; {_progress(update)}" if update else ""
    return f"{stage['Message']}{progress}"


def rows(stage: Result) -> Iterator[Row]:
    """Yield the rows of a stage's table."""
    since = f" since {shown_time(stage['Since'])}" if stage["Since"] else ""
    yield "endpoint", f"{stage['EndpointName']}  {stage['Outcome']}{since}"
    yield from _version_rows(stage)
    if update := stage["Update"]:
        yield "update", _progress(update)
    for variant in stage["Variants"]:
        yield f"variant {variant['VariantName']}", _variant(variant)
    for name, state in stage["Alarms"].items():
        yield f"alarm {name}", state
    if probe := stage["Probe"]:
        yield "a recorded sample", f"{probe['status']}: {probe['text']}"
    if lock := stage["Lock"]:
        ended = "" if lock["Lives"] else ", ended; the next command takes the lock over"
        yield "lock", f"{lock['What']} by {lock['By']} on {lock['Host']}{ended}"
    if pending := stage["Pending"]:
        version = pending["ModelPackageArn"].rpartition("/")[2]
        of = "to" if pending["Action"] == "rollback" else "of"
        yield "begun", f"{pending['Action']} {of} version {version} at {pending['Time'][:16]}"
    if stage["FailureReason"]:
        yield "reason", stage["FailureReason"]
    for found in stage["Findings"]:
        if found["Text"] not in stage["Message"]:
            yield "also", found["Text"]
    goal = stage["RollbackTarget"]
    if goal and goal["EndpointConfigName"] != stage["EndpointConfigName"]:
        gone = stage["RollbackTargetMissing"]
        note = f" ({', '.join(gone)} was deleted)" if gone else ""
        text = f"version {goal['ModelPackageVersion']}  {goal['EndpointConfigName']}{note}"
        yield "a rollback leads to", text
    if stage["Who"] and stage["Next"]:
        yield "who", stage["Who"]
    if stage["Recovery"]:
        yield "what to do", stage["Recovery"]


def _version_rows(stage: Result) -> Iterator[Row]:
    if not stage["EndpointConfigName"]:
        return
    version = stage["ModelPackageVersion"]
    yield "serves", f"version {version}  {stage['EndpointConfigName']}"
    if stage["ModelPackageArn"]:
        yield "package", stage["ModelPackageArn"]
    if approval := stage["Approval"]:
        status = approval["Status"]
        now = "" if status == "Approved" else f"; {status} now"
        yield "approved by", f"{approval['By']} at {approval['Time'][:16]}{now}"
    if stage["GitCommit"]:
        yield "commit", shown_commit(stage["GitCommit"])


def _variant(variant: Result) -> str:
    parts = [f"weight {variant['Weight']:g}"] if variant["Weight"] is not None else []
    if variant["DesiredInstanceCount"]:
        parts.append(f"{variant['InstanceCount']} of {variant['DesiredInstanceCount']} instances")
    if not variant["Requests"]:
        return ", ".join([*parts, f"no data of requests in the last {MINUTES} minutes"])
    parts.append(f"{variant['Requests']:,.0f} requests in {MINUTES} minutes")
    errors = variant["ErrorRate"]
    parts.append("5xx unknown" if errors is None else f"{errors:.2%} 5xx")
    for name, member in (("p50", "P50Milliseconds"), ("p99", "P99Milliseconds")):
        value = variant[member]
        parts.append(f"{name} unknown" if value is None else f"{name} {_number(value)} ms")
    return ", ".join(parts)


def _number(value: float) -> str:
    """Return three digits, or the whole part where that has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _progress(update: Result) -> str:
    version = update["ModelPackageArn"].rpartition("/")[2]
    parts = [f"to version {version or 'unknown'} ({update['EndpointConfigName']})"]
    parts.append(update["Policy"])
    for variant in update["Variants"]:
        there, wanted = variant["InstanceCount"], variant["DesiredInstanceCount"]
        if wanted:
            parts.append(f"{there} of {wanted} new instances of {variant['VariantName']}")
        if variant["Status"]:
            parts.append(f"{variant['Status']} since {_time(variant['Since'])}")
    if update["NextStepTime"]:
        parts.append(f"the next step at {_time(update['NextStepTime'])}")
    if update["EndsBefore"]:
        parts.append(f"ends before {_time(update['EndsBefore'])}")
    return ", ".join(parts)


def _time(time: datetime | None) -> str:
    return f"{time.astimezone(timezone.utc):%H:%M:%S}" if time else "an unknown time"
