"""What `run-pipeline` prints: a live table on a terminal, plain lines elsewhere."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sagemaker_project.build.execution import StepRun, log_group
from sagemaker_project.usage import Json

if TYPE_CHECKING:  # imported only where it is needed
    from rich.table import Table

    from sagemaker_project.tabular.preprocessing import Report

CONSTANT = "_best_constant_classifier"  # ends the names of a trivial predictor's metrics
MAX_NOTES = 10  # lines about the data
STYLES = {"Succeeded": "green", "Failed": "red", "Stopped": "yellow", "Executing": "cyan"}


@contextlib.contextmanager
def steps_display() -> Iterator[Callable[[Sequence[StepRun]], None]]:
    """Yield a function that shows the steps: a live table, or one line for each change."""
    if not sys.stdout.isatty():
        yield _line_printer()
        return
    from rich.live import Live

    with Live(refresh_per_second=8, transient=True) as live:
        yield lambda steps: live.update(_table(steps))


def _line_printer() -> Callable[[Sequence[StepRun]], None]:
    seen: dict[str, str] = {}

    def show(steps: Sequence[StepRun]) -> None:
        for step in steps:
            if seen.get(step.name) != step.status:
                seen[step.name] = step.status
                print(f"{step.name} {step.status}", flush=True)

    return show


def print_steps(steps: Sequence[StepRun]) -> None:
    """Print the table of the steps."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(_table(steps))
        return
    width = max((len(step.name) for step in steps), default=0)
    for step in steps:
        line = f"{step.name:<{width}}  {step.status:<9}  {step.seconds:7.1f} s  {step.note}"
        print(line.rstrip())


def _table(steps: Sequence[StepRun]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("Step", "Status", "Time", "", box=None, pad_edge=False, header_style="bold")
    for step in steps:
        status = Text(step.status, style=STYLES.get(step.status, ""))
        table.add_row(Text(step.name), status, f"{step.seconds:.1f} s", Text(step.note))
    return table


def print_definition(definition: Json, module_name: str) -> None:
    """Print the definition; on a terminal only its length, and the command that prints it."""
    text = json.dumps(definition, indent=2, sort_keys=True)
    if sys.stdout.isatty():
        lines = text.count("\n") + 1
        print(f"({lines} lines: get-pipeline-definition --module-name {module_name} prints them)")
    else:
        print(text)


def print_results(
    metrics: Mapping[str, float], report: Path | None, packages: Sequence[str], gate: str = ""
) -> None:
    """Print the model's metrics, what the gates say, the packages' ARNs and the report's path."""
    for name, value in metrics.items():
        if not name.endswith(CONSTANT):
            print(f"{name} {value:.6g}")
    if gate:
        print(f"gate {gate}")
    for package in packages:
        print(f"model package {package}")
    if report:
        print(f"report {report}")


def print_data_report(report: "Report") -> None:
    """Print what preprocessing has found: rows dropped, what looks odd, warnings."""
    from sagemaker_project.tabular.preprocessing import summary

    first, *notes = summary(report)
    print(first)
    notes.sort(key=lambda note: not note.startswith("warning"))
    for note in notes[:MAX_NOTES]:
        print(note)
    if len(notes) > MAX_NOTES:
        print(f"and {len(notes) - MAX_NOTES} more about the data: the report has them")


def print_failures(steps: Sequence[StepRun], is_local: bool) -> None:
    """Print the command that shows the log of each failed step."""
    for step in steps:
        if step.status == "Failed" and step.job:
            group, job = log_group(step.job)
            command = f"aws logs tail {group} --log-stream-name-prefix {job} --since 1d"
            command = f"{_command('sagemaker-local')} logs {job}" if is_local else command
            print(f"log of {step.name}: {command}")


def _command(name: str) -> str:
    """Return a command of this project as it can be typed in the working folder."""
    path = Path(sys.executable).with_name(name)
    return shlex.quote(os.path.relpath(path)) if path.exists() else name
