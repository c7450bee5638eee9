"""What `run-pipeline` shows, now and at the end: live on a terminal, elsewhere plain lines."""

import contextlib
import os
import shlex
import sys
from pathlib import Path

from sagemaker_project.build.execution import log_group

MARKS = {"Succeeded": "green", "Failed": "red", "Stopped": "yellow", "Executing": "cyan"}


@contextlib.contextmanager
def steps_display():
    """A function that shows the steps: on a terminal a table that changes, else a line a change."""
    if not sys.stdout.isatty():
        yield _line_printer()
        return
    from rich.live import Live

    with Live(refresh_per_second=8, transient=True) as live:
        yield lambda steps: live.update(_table(steps))


def _line_printer():
    seen = {}

    def show(steps):
        for step in steps:
            if seen.get(step.name) != step.status:
                seen[step.name] = step.status
                print(f"{step.name} {step.status}", flush=True)

    return show


def print_steps(steps):
    """The table of steps."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(_table(steps))
        return
    width = max((len(step.name) for step in steps), default=0)
    for step in steps:
        line = f"{step.name:<{width}}  {step.status:<9}  {step.seconds:7.1f} s  {step.note}"
        print(line.rstrip())


def _table(steps):
    from rich.table import Table
    from rich.text import Text

    table = Table("Step", "Status", "Time", "", box=None, pad_edge=False, header_style="bold")
    for step in steps:
        status = Text(step.status, style=MARKS.get(step.status, ""))
        table.add_row(Text(step.name), status, f"{step.seconds:.1f} s", Text(step.note))
    return table


def print_results(metrics, report, packages):
    """The metrics, the packages that were registered and the path of the report."""
    for name, value in metrics.items():
        print(f"{name} {value:.6g}")
    for package in packages:
        print(f"model package {package}")
    if report:
        print(f"report {report}")


def _command(name):
    """A command of this project, as it can be typed here."""
    path = Path(sys.executable).with_name(name)
    return shlex.quote(os.path.relpath(path)) if path.exists() else name


def print_failures(steps, local):
    """Where the log of each step that failed is."""
    for step in steps:
        if step.status == "Failed" and step.job:
            group, job = log_group(step.job)
            command = f"aws logs tail {group} --log-stream-name-prefix {job} --since 1d"
            command = f"{_command('sagemaker-local')} logs {job}" if local else command
            print(f"log of {step.name}: {command}")
