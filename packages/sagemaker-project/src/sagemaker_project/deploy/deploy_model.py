"""The command `deploy-model`: deploy an approved model package to staging and prod, and roll back.

    deploy-model promote --stage staging --latest-approved
    deploy-model test --stage staging
    deploy-model promote --stage prod --model-package-arn ARN
    deploy-model rollback --stage prod

With `--local` the same calls go to sagemaker_emulator on this machine, and nothing else differs.
Results go to standard output, progress and what went wrong to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sagemaker_project import pages
from sagemaker_project.deploy.arguments import parse
from sagemaker_project.errors import ProjectError, UsageError
from sagemaker_project.project import Project

if TYPE_CHECKING:
    from sagemaker_project.clock import Clock
    from sagemaker_project.deploy.gates import Gate

OUTCOMES = {1: "Failed", 2: "Invalid", 3: "Refused", 4: "Busy", 5: "NeedsHuman"}
REPORT_EXIT_CODES = {"Failed": 1, "Inconclusive": 3}  # by the outcome of `test` and `audit`
Result = dict[str, Any]


class Interrupted(BaseException):
    """A signal ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def main(
    project: Project,
    argv: Sequence[str] | None = None,
    gates: Sequence[Gate] = (),
    clock: Clock | None = None,
) -> int:
    """Run the command; return its exit code. See `deploy.main` for the arguments."""
    args = parse(project, sys.argv[1:] if argv is None else argv)
    if args.command == "help":
        with _reader_may_leave():
            print(pages.text(args.topic), end="", flush=True)
        return 0
    try:
        with contextlib.ExitStack() as stack:
            _stop_on_signals(stack)
            result, code = _run(project, args, gates, clock, stack)
    except Interrupted as stop:
        resumable = "what was begun is in the ledger: run the same command again to go on"
        result, code = {"Outcome": "Interrupted", "Message": f"{stop}; {resumable}"}, stop.exit_code
    except Exception as error:  # a fault of this package: a program that reads the result is told
        traceback.print_exc()
        broke = f"deploy-model broke ({error!r}); look at deploy-model status before going on"
        result, code = {"Outcome": OUTCOMES[5], "Message": broke}, 5
    with _reader_may_leave():
        _print(args, {"Command": args.command, "Stage": args.stage, "ExitCode": code, **result})
    return code


def _run(
    project: Project,
    args: argparse.Namespace,
    gates: Sequence[Gate],
    clock: Clock | None,
    stack: contextlib.ExitStack,
) -> tuple[Result, int]:
    """Return the command's result and exit code; raise nothing but faults of this package."""
    from sagemaker_project.usage import quiet_sdk

    quiet_sdk()
    try:
        if args.local:
            _start_local(stack, args.region)
        from sagemaker_project.clock import Clock
        from sagemaker_project.deploy import aws, commands, context
        from sagemaker_project.deploy.request import DeployRequest

        request, clock = DeployRequest.of(args), clock or Clock()
        client = aws.Aws(request.region, request.timeout_seconds, clock)
        opened = context.open_context(project, request, client, clock, _say)
        result = commands.run(opened, gates)
    except ProjectError as error:
        return {"Outcome": OUTCOMES[error.exit_code], "Message": str(error)}, error.exit_code
    return result, REPORT_EXIT_CODES.get(result["Outcome"], 0) if "Report" in result else 0


def _start_local(stack: contextlib.ExitStack, region: str) -> None:
    """Point boto3 at the emulator, started or joined."""
    from sagemaker_project import usage

    try:
        stack.enter_context(usage.emulator().attach(region_name=region)).enter()
    except usage.emulator().LocalError as error:
        raise UsageError(error) from None


def _stop_on_signals(stack: contextlib.ExitStack) -> None:
    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the lock's release
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        stack.callback(signal.signal, number, signal.signal(number, stop))


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End quietly when standard output is a pipe that is not read any more."""
    try:
        yield
    except BrokenPipeError:  # Python flushes once more as it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # a deployment goes on though it is not watched
        print(text, file=sys.stderr, flush=True)


def _print(args: argparse.Namespace, result: Result) -> None:
    if args.json:
        print(json.dumps(result, indent=2, default=str))
    elif result["ExitCode"] and "Report" not in result:  # what failed in a report is to be shown
        print(f"deploy-model: {result['Message']}", file=sys.stderr)
    else:
        from sagemaker_project.deploy import display

        display.show(args.command, result)
    sys.stdout.flush()
