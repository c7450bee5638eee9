"""Deploy an approved model package to staging and prod, and go back.

    deploy-model promote --stage staging --latest-approved
    deploy-model test --stage staging
    deploy-model promote --stage prod --model-package-arn ARN
    deploy-model rollback --stage prod

With `--local` the same calls go to sagemaker_emulator on this machine, and nothing else is
different. Results go to standard output, progress and what went wrong to standard error.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from sagemaker_project import pages
from sagemaker_project.cli import add_with_variable, seconds
from sagemaker_project.project import Project

EXIT_CODES = """\
exit codes:
  0    done
  1    the deployment failed and what served before serves again; or a test failed
  2    the arguments, settings or credentials cannot be used; nothing was changed
  3    a gate says no, or there is too little to judge by; what serves was not changed
  4    busy: another deployment is in progress, or AWS does not answer; run again later
  5    a person is needed; the message says what for
  130  interrupted (143: terminated); run the same command again to go on
"""
OUTCOMES = {1: "Failed", 2: "Invalid", 3: "Refused", 4: "Busy", 5: "NeedsHuman"}
COMMANDS = {
    "plan": "show what promote would do; nothing is changed",
    "promote": "deploy an approved model package and wait until it serves",
    "test": "invoke the endpoint with the recorded requests of its model, and report",
    "rollback": "put the version before the current one back",
    "status": "say what serves, and whether somebody changed it by hand",
    "history": "list what happened to the stage, after checking that no entry was changed",
    "cleanup": "delete what earlier deployments left and nothing needs",
}
GROUP_VARIABLE = "SOURCE_MODEL_PACKAGE_GROUP_NAME"
TIMEOUT_SECONDS = 4 * 3600


class Interrupted(BaseException):
    def __init__(self, number):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.code = 128 + number


def main(project: Project, argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(project, "--json" in argv).parse_args(argv)
    if args.command == "help":
        with _reader_may_leave():
            print(pages.text(args.topic), end="", flush=True)
        return 0
    if args.model_package_group_name is None:
        # CodeBuild's variable is about the first pipeline: another one's endpoints are not for it.
        group = os.environ.get(GROUP_VARIABLE) if project.is_first(args.pipeline) else None
        args.model_package_group_name = group or project.group_of(args.pipeline)
    try:
        with contextlib.ExitStack() as stack:
            _stop_on_signals(stack)
            result, code = _run(project, args, stack)
    except Interrupted as stop:
        result, code = {"Outcome": "Interrupted", "Message": _resumable(stop)}, stop.code
    except Exception as error:  # a mistake of ours: whoever reads only the result is told, too
        traceback.print_exc()
        broke = f"deploy-model broke ({error!r}); look at deploy-model status before going on"
        result, code = _no(5, broke)
    with _reader_may_leave():
        _print(args, {"Command": args.command, "Stage": args.stage, "ExitCode": code, **result})
    return code


@contextlib.contextmanager
def _reader_may_leave():
    """End quietly when standard output is a pipe that nobody reads any more."""
    try:
        yield
    except BrokenPipeError:  # Python flushes once more as it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _resumable(stop):
    return f"{stop}; what was begun is in the ledger: run the same command again to go on"


def _run(project, args, stack):
    """The command's result and exit code; only our own mistakes are raised."""
    from sagemaker_project.usage import UsageError, quiet_sdk

    quiet_sdk()
    try:
        if args.local:
            _start_local(stack, args)
        from sagemaker_project.deploy import Refused, aws, commands, executor, ledger
    except UsageError as error:
        return _no(2, error)
    codes = {
        executor.DeployFailed: 1,
        UsageError: 2,
        executor.NeedsHuman: 5,
        ledger.LedgerError: 5,
        Refused: None,
        aws.AwsError: None,
    }
    try:
        session = commands.open_session(
            project, args, aws.Aws(args.region, time.monotonic() + args.timeout), _say
        )
        result = getattr(commands, args.command)(session)
    except tuple(codes) as error:
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        return _no(error.code if code is None else code, error)
    verdicts = {"Failed": 1, "Inconclusive": 3}
    return result, verdicts.get(result["Outcome"], 0) if args.command == "test" else 0


def _no(code, error):
    return {"Outcome": OUTCOMES[code], "Message": str(error)}, code


def _start_local(stack, args):
    """Point boto3 at the emulator, started or joined."""
    from sagemaker_project import usage

    try:
        stack.enter_context(usage.emulator().attach(region_name=args.region)).enter()
    except usage.emulator().LocalError as error:
        raise usage.UsageError(error) from None


def _stop_on_signals(stack):
    def stop(number, _):
        signal.signal(number, signal.SIG_IGN)  # once is enough: the lock is being given back
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        stack.callback(signal.signal, number, signal.signal(number, stop))


def _say(text):
    with contextlib.suppress(BrokenPipeError):  # a deployment goes on though nobody listens
        print(text, file=sys.stderr, flush=True)


def _print(args, result):
    if args.json:
        print(json.dumps(result, indent=2, default=str))
    elif result["ExitCode"] and "Report" not in result:  # a test that fails has something to show
        print(f"deploy-model: {result['Message']}", file=sys.stderr)
    else:
        from sagemaker_project.deploy import display

        display.show(args.command, result)
    sys.stdout.flush()


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line also in JSON, where that is wanted."""

    in_json = False

    def error(self, message):
        if self.in_json:
            content = {"ExitCode": 2, "Outcome": "Invalid", "Message": message}
            print(json.dumps(content, indent=2))
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _new_file(text):
    """A file that a report can be written to: that it cannot is to be told before the test."""
    path = Path(text)
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file")
    if path.suffix == ".html":
        raise argparse.ArgumentTypeError(
            f"{text} is the HTML report's: name the JSON report {path.stem}.json"
        )
    folder = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        wrong = "may not be written to" if os.path.isdir(folder) else "is no folder"
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {folder} {wrong}")
    return text


def _parser(project, in_json=False):
    parser = _Parser(
        "deploy-model",
        description=f"Deploy an approved model package to {_stages(project)}, and go back.",
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
        _add_common(command, project)
        if name in ("plan", "promote"):
            _add_promotion(command)
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
                help="go on where somebody changed the endpoint by hand",
            )
        if name == "test":
            command.add_argument(
                "--export-test-results",
                type=_new_file,
                metavar="FILE",
                help="where the JSON report goes; the HTML one beside it (default: reports/)",
            )
    _add_help(commands)
    return parser


def _add_help(commands):
    help = "print a page of the documentation"
    command = commands.add_parser("help", help=help, description=help, allow_abbrev=False)
    command.in_json = False
    topics = pages.topics()
    command.add_argument(
        "topic",
        nargs="?",
        default="deploy",
        choices=topics,
        metavar="TOPIC",
        help=f"{', '.join(topics)} (default: deploy)",
    )


def _stages(project):
    *others, last = project.stages
    return " and ".join(filter(None, [", ".join(others), last]))


def _add_common(command, project):
    add = command.add_argument
    add("--stage", required=True, choices=project.stages, help="which endpoint")
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


def _add_promotion(command):
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
