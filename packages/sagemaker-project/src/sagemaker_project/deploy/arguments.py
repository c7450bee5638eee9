"""The command line of `deploy-model`: its flags, its help, and the request that they make."""

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sagemaker_project import pages
from sagemaker_project.cli import add_with_variable, seconds
from sagemaker_project.project import Project

EXIT_CODES = """\
exit codes:
  0    done
  1    the deployment failed and what served before serves again; or a test or audit failed
  2    the arguments, settings or credentials cannot be used; nothing was changed
  3    a gate says no, or there is too little to judge by; what serves was not changed
  4    busy: another deployment is in progress, or AWS does not answer; run again later
  5    a person is needed; the message says what for
  130  interrupted (143: terminated); run the same command again to go on
A standard output that is full or closed changes no code, but for commands that only print: 2.
"""
COMMANDS = {
    "plan": "show what promote would do; nothing is changed",
    "promote": "deploy an approved model package and wait until it serves",
    "test": "invoke the endpoint with the recorded requests of its model, and report",
    "rollback": "undo the last promotion: the version before serves again; once, if repeated",
    "status": "say what serves, whether it is well, and what to type if it is not",
    "history": "list what happened to the stage, and entries of the ledger that are damaged",
    "audit": "trace a prediction, or a version, back to the data and the commit, link by link",
    "cleanup": "delete what earlier deployments left and nothing needs",
    "approve": "approve a version of the model registry, which promote then may deploy",
    "reject": "reject a version, or withdraw its approval; what serves is not changed",
    "ledger": "accept that an entry of the ledger is damaged: it does not count any more",
}
REGISTRY = ("approve", "reject")  # they are about a version, not about a stage
GROUP_VARIABLE = "SOURCE_MODEL_PACKAGE_GROUP_NAME"
TIMEOUT_SECONDS = 4 * 3600
MAX_REASON = 1000  # characters


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line also in JSON, where that is wanted."""

    in_json = False

    def error(self, message: str) -> NoReturn:
        if self.in_json:
            content = {"ExitCode": 2, "Outcome": "Invalid", "Message": message}
            print(json.dumps(content, indent=2))
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(project: Project, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit where it cannot be read, or only help is wanted."""
    parser = _parser(project, "--json" in argv)
    args = parser.parse_args(argv)
    if args.command == "audit" and (wrong := _wrong_audit(args)):
        parser.error(wrong)
    if args.command != "help" and args.model_package_group_name is None:
        # CodeBuild's variable is about the first pipeline, not about the endpoints of another one.
        group = os.environ.get(GROUP_VARIABLE) if project.is_first(args.pipeline) else None
        args.model_package_group_name = group or project.group_of(args.pipeline)
    return args


def _parser(project: Project, in_json: bool) -> _Parser:
    parser = _Parser(
        "deploy-model",
        description=f"Deploy an approved model package to {_stages(project)}, and roll back.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.in_json = in_json
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=help,
            description=help,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.in_json = in_json
        if name not in REGISTRY:
            _add_stage(command, project, required=name != "status")
        else:
            _add_decision(command)
        _add_common(command, project)
        if name in ("plan", "promote"):
            _add_promotion(command)
        if name == "status":
            _add_status(command)
        if name == "promote":
            command.add_argument(
                "--plan-token",
                metavar="TOKEN",
                help="deploy only if what would be done is what the plan with this token said",
            )
        if name in ("plan", "promote", "rollback"):
            command.add_argument(
                "--accept-drift",
                action="store_true",
                help="go on where the endpoint was changed by hand",
            )
        if name == "rollback":
            command.add_argument(
                "--to",
                type=_version,
                metavar="VERSION",
                help="the earlier version that is to serve (default: the one before the last"
                " promotion)",
            )
        if name in ("plan", "promote", "rollback"):
            _add_now(command, rollback=name == "rollback")
        if name == "test":
            command.add_argument(
                "--export-test-results",
                type=_new_file,
                metavar="FILE",
                help="where the JSON report goes; the HTML one beside it (default: reports/)",
            )
        if name == "history":
            command.add_argument(
                "--last", type=_positive, metavar="N", help="only the last N entries (default: all)"
            )
        if name == "ledger":
            _add_acceptance(command)
        if name == "audit":
            _add_audit(command)
    _add_help(commands)
    return parser


def _add_audit(command: argparse.ArgumentParser) -> None:
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


def _wrong_audit(args: argparse.Namespace) -> str:
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


def _add_help(commands: Any) -> None:
    help = "print a page of the documentation"
    command = commands.add_parser("help", help=help, description=help, allow_abbrev=False)
    topics = pages.topics()
    command.add_argument(
        "topic",
        nargs="?",
        default="deploy",
        choices=topics,
        metavar="TOPIC",
        help=f"{', '.join(topics)} (default: deploy)",
    )


def _stages(project: Project) -> str:
    *others, last = project.stages
    return " and ".join(filter(None, [", ".join(others), last]))


def _add_stage(command: argparse.ArgumentParser, project: Project, required: bool) -> None:
    help = "which endpoint" + ("" if required else " (default: all of them)")
    command.add_argument("--stage", required=required, choices=project.stages, help=help)


def _add_decision(command: argparse.ArgumentParser) -> None:
    command.set_defaults(stage=None)
    command.add_argument("arn", metavar="ARN", help="the version")
    command.add_argument("--reason", required=True, metavar="TEXT", help="kept in the registry")


def _add_status(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--watch", action="store_true", help="look again until it does not change any more"
    )
    command.add_argument(
        "--probe", action="store_true", help="send one recorded sample, and judge the answer"
    )


def _add_common(command: argparse.ArgumentParser, project: Project) -> None:
    add = command.add_argument
    first = f" (default: {project.pipeline})" if project.pipeline else ""
    add("--pipeline", metavar="NAME", help=f"of which pipeline{first}")
    add("--local", action="store_true", help="on this machine, without AWS")
    add("--json", action="store_true", help="print the result as JSON, whatever it is")
    add(
        "--timeout",
        type=seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for an endpoint and for AWS (default: %(default)s)",
    )
    add(
        "--model-package-group-name",
        metavar="VALUE",
        help=f"group in the model registry (default: that of the pipeline; of the first one"
        f" {GROUP_VARIABLE}, where it is set)",
    )
    for flag, variable, default, help in (
        ("--model-execution-role", "MODEL_EXECUTION_ROLE_ARN", "", "role the models run as"),
        (
            "--sagemaker-project-name",
            "SAGEMAKER_PROJECT_NAME",
            project.name,
            "first part of every name",
        ),
        ("--sagemaker-project-id", "SAGEMAKER_PROJECT_ID", "", "for tags"),
        ("--s3-bucket", "ARTIFACT_BUCKET", "", "bucket of ledger and reports"),
        ("--region", "AWS_REGION", project.region, "AWS region"),
    ):
        add_with_variable(command, flag, variable=variable, default=default, help=help)


def _add_promotion(command: argparse.ArgumentParser) -> None:
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


def _add_acceptance(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=["accept"], help="set damaged entries aside")
    command.add_argument(
        "entries", type=_positive, nargs="+", metavar="ENTRY", help="the number of a damaged entry"
    )
    command.add_argument(
        "--reason", type=_reason, required=True, metavar="TEXT", help="why; recorded"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _add_now(command: argparse.ArgumentParser, rollback: bool) -> None:
    at_once = "move the traffic all at once: no canary, no bake time, alarms are not asked; every"
    command.add_argument(
        "--now",
        action="store_true",
        help="record an emergency; a rollback is all at once and asks no alarm in any case"
        if rollback
        else f"{at_once} other gate stands; needs --reason",
    )
    command.add_argument(
        "--reason",
        type=_reason,
        metavar="TEXT",
        help="why; one line, which the ledger keeps",
    )


def _version(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version: a number from 1")
    return int(text)


def _reason(text: str) -> str:
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
