"""The flags that each command of `deploy-model` has besides those of all: FLAGS."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

Parser: TypeAlias = argparse.ArgumentParser
Add: TypeAlias = Callable[[Parser, Sequence[str]], None]  # gets the names of the stages

MAX_REASON = 1000  # characters


def _stage(command: Parser, stages: Sequence[str]) -> None:
    command.add_argument("--stage", required=True, choices=stages, help="which endpoint")


def _all_stages(command: Parser, stages: Sequence[str]) -> None:
    command.add_argument("--stage", choices=stages, help="which endpoint (default: all of them)")


def _version(command: Parser, _: Sequence[str]) -> None:
    command.set_defaults(stage=None)
    command.add_argument("arn", metavar="ARN", help="the version")
    command.add_argument(
        "--reason", type=_line, required=True, metavar="TEXT", help="kept in the registry"
    )


def _promotion(command: Parser, _: Sequence[str]) -> None:
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--model-package-arn", metavar="ARN", help="the version to deploy")
    which.add_argument(
        "--latest-approved", action="store_true", help="the highest version that is approved"
    )
    command.add_argument(
        "--retry",
        action="store_true",
        help="deploy a version again that failed, was rolled back, or is older than what serves",
    )
    command.add_argument(
        "--accept-uncommitted",
        action="store_true",
        help="deploy a version whose pipeline ran with changes that no commit has; recorded",
    )


def _plan_token(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "--plan-token",
        metavar="TOKEN",
        help="deploy only if what would be done is what the plan with this token said",
    )


def _drift(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "--accept-drift", action="store_true", help="go on where the endpoint was changed by hand"
    )


def _now(command: Parser, _: Sequence[str]) -> None:
    _emergency(
        command,
        "move the traffic all at once: no canary, no bake time, alarms are not asked; every other"
        " gate stands; needs --reason",
    )


def _emergency(command: Parser, now: str) -> None:
    """Add --now, with this help, and --reason."""
    command.add_argument("--now", action="store_true", help=now)
    command.add_argument(
        "--reason", type=_line, metavar="TEXT", help="why; one line, which the ledger keeps"
    )


def _goal(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "--to",
        type=_positive,
        metavar="VERSION",
        help="the earlier version that is to serve (default: the one before the last promotion)",
    )
    _emergency(
        command, "record an emergency; a rollback is all at once and asks no alarm in any case"
    )


def _test_results(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "--export-test-results",
        type=_new_file,
        metavar="FILE",
        help="where the JSON report goes; the HTML one beside it (default: reports/)",
    )


def _last(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "--last", type=_positive, metavar="N", help="only the last N entries (default: all)"
    )


def _status(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "--watch", action="store_true", help="look again until it does not change any more"
    )
    command.add_argument(
        "--probe", action="store_true", help="send one recorded sample, and judge the answer"
    )


def _acceptance(command: Parser, _: Sequence[str]) -> None:
    command.add_argument("action", choices=["accept"], help="set damaged entries aside")
    command.add_argument(
        "entries", type=_positive, nargs="+", metavar="ENTRY", help="the number of a damaged entry"
    )
    command.add_argument(
        "--reason", type=_line, required=True, metavar="TEXT", help="why; recorded"
    )


def _audit(command: Parser, _: Sequence[str]) -> None:
    command.add_argument(
        "audit",
        choices=("prediction", "version", "all"),
        help="a captured prediction, a version, or everything that the stage served",
    )
    command.add_argument(
        "audited",
        nargs="?",
        default="",
        metavar="INFERENCE-ID | N",
        help="the InferenceId that the request had, or the number of the version",
    )
    command.add_argument(
        "--at",
        default="",
        metavar="TIME",
        help="of a prediction: when, in UTC; 2026-01-31T23:59 is that minute, with seconds that"
        " second",
    )


FLAGS: dict[str, tuple[Add, ...]] = {
    "plan": (_stage, _promotion, _drift, _now),
    "promote": (_stage, _promotion, _plan_token, _drift, _now),
    "test": (_stage, _test_results),
    "rollback": (_stage, _goal, _drift),
    "status": (_all_stages, _status),
    "history": (_stage, _last),
    "audit": (_stage, _audit),
    "cleanup": (_stage,),
    "approve": (_version,),
    "reject": (_version,),
    "ledger": (_stage, _acceptance),
}


# Types of arguments


def _positive(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _line(text: str) -> str:
    text = text.strip()
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError("it must be one line of text that is not blank")
    if len(text) > MAX_REASON:
        raise argparse.ArgumentTypeError(
            f"it has {len(text):,} characters, at most {MAX_REASON:,} are kept"
        )
    return text


def _new_file(text: str) -> str:
    """Check before the test that a report can be written to this path."""
    path = Path(text)
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file")
    if path.suffix == ".html":
        raise argparse.ArgumentTypeError(
            f"{text} is the HTML report's: name the JSON report {path.stem}.json"
        )
    folder = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        wrong = "may not be written to" if os.path.isdir(folder) else "is not a folder"
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {folder} {wrong}")
    return text


def wrong_audit(args: argparse.Namespace) -> str:
    """Return what is wrong with the words of an audit; empty where nothing is."""
    what, which = args.audit, args.audited
    if what == "all" and which:
        return f"audit all takes no other word, {which!r} was given"
    if what == "prediction" and not which:
        return "audit prediction needs the InferenceId that the request had"
    if what == "version" and not (which.isascii() and which.isdecimal()):
        return f"audit version needs the number of a version, {which!r} was given"
    if args.at and what != "prediction":
        return f"--at is for audit prediction, not for audit {what}"
    return ""
