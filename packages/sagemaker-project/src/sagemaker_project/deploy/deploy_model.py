"""The command `deploy-model`: deploy an approved model package to staging and prod, and roll back.

    deploy-model promote --stage staging --latest-approved
    deploy-model test --stage staging
    deploy-model promote --stage prod --model-package-arn ARN
    deploy-model rollback --stage prod

With `--local` the same calls go to sagemaker_emulator on this machine, and nothing else differs.
Results go to standard output, progress and what went wrong to standard error.

`main` is the outermost handler: whatever happens, it ends with the exit code of what became of the
deployment. Output that cannot be written does not change that (see cli.Output); a signal at any
moment ends it with one line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sagemaker_project import cli, pages
from sagemaker_project.deploy.arguments import parse
from sagemaker_project.errors import Interrupted, ProjectError, Unavailable, UsageError
from sagemaker_project.project import Project

if TYPE_CHECKING:
    from sagemaker_project.clock import Clock
    from sagemaker_project.deploy.gates import Gate

OUTCOMES = {1: "Failed", 2: "Invalid", 3: "Refused", 4: "Busy", 5: "NeedsHuman"}
REPORT_EXIT_CODES = {"Failed": 1, "Inconclusive": 3}  # by the outcome of `test` and `audit`
# Their exit code tells what they have done.
ACTS = ("promote", "test", "rollback", "cleanup", "approve", "reject", "ledger")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
Result = dict[str, Any]


def main(
    project: Project,
    argv: Sequence[str] | None = None,
    gates: Sequence[Gate] = (),
    clock: Clock | None = None,
) -> int:
    """Run the command; return its exit code. See `deploy.main` for the arguments."""
    words = sys.argv[1:] if argv is None else argv
    with cli.output() as stdout, _interruptible(is_program=argv is None):
        try:
            about, result, code = _run(project, words, gates, clock)
            return _report(about, result, code, "--json" in words, stdout)
        except Interrupted as stop:  # while the result was written
            return cli.report("deploy-model", f"{stop}: run the same command again", stop.exit_code)


def _run(
    project: Project, words: Sequence[str], gates: Sequence[Gate], clock: Clock | None
) -> tuple[Result, Result, int]:
    """Return which command it was, its result and its exit code; raise no Exception."""
    about: Result = {"Command": None, "Stage": None}
    try:
        args = parse(project, words)
        about["Command"] = args.command
        if args.command == "help":
            return about, {"Outcome": "Read", "Text": pages.text(args.topic)}, 0
        about["Stage"] = args.stage
        with contextlib.ExitStack() as stack:
            return about, *_do(project, args, gates, clock, stack)
    except Interrupted as stop:
        resumable = "what was begun is in the ledger: run the same command again to go on"
        message = f"{stop}; {resumable}"
        return about, {"Outcome": "Interrupted", "Message": message}, stop.exit_code
    except Exception as error:  # a fault of this package: a program that reads the result is told
        traceback.print_exc()
        broke = f"deploy-model broke ({error!r}); look at deploy-model status before going on"
        return about, {"Outcome": OUTCOMES[5], "Message": broke}, 5


def _do(
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
        message = str(error)
        if args.command == "status" and isinstance(error, Unavailable):
            message = f"{args.stage or 'every stage'} is unknown: {message}"
        return {"Outcome": OUTCOMES[error.exit_code], "Message": message}, error.exit_code
    if "Report" in result:
        return result, REPORT_EXIT_CODES.get(result["Outcome"], 0)
    return result, result.get("ExitCode", 0)


def _start_local(stack: contextlib.ExitStack, region: str) -> None:
    """Point boto3 at the emulator, started or joined."""
    from sagemaker_project import usage

    try:
        stack.enter_context(usage.emulator().attach(region_name=region)).enter()
    except usage.emulator().LocalError as error:
        raise UsageError(error) from None


@contextlib.contextmanager
def _interruptible(is_program: bool) -> Iterator[None]:
    """Raise Interrupted at the first SIGINT or SIGTERM while a block runs.

    Args:
        is_program: the process ends after the block, and no signal may give it another end.
    """

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the lock's release
        raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_program else handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _report(about: Result, result: Result, code: int, in_json: bool, stdout: cli.Output) -> int:
    """Print the result; return the exit code.

    The code stays what it is where the result cannot be written: what serves does not depend on
    that. Only a command that does nothing but print fails then, with 2.
    """
    if "Text" in result:
        print(result["Text"], end="")
    elif in_json:
        print(json.dumps({**about, "ExitCode": code, **result}, indent=2, default=str))
    elif code and not {"Report", "Verdict"} & set(result):  # those have more to show
        cli.report("deploy-model", result["Message"], code)
    else:
        _show(about["Command"], {**about, "ExitCode": code, **result})
    stdout.flush()
    if stdout.problem:
        ended = f"{result['Outcome']}: {result.get('Message', '')}".removesuffix(": ")
        why = f"the result could not be written to standard output ({stdout.problem}): {ended}"
        code = code or (0 if about["Command"] in ACTS else 2)
        cli.report("deploy-model", why, code)
    return code


def _show(command: str, result: Result) -> None:
    """Print the result for people; only its message where a fault of this package prevents it."""
    from sagemaker_project.deploy import display

    try:
        display.show(command, result)
    except Exception:
        traceback.print_exc()
        print(result["Message"])
