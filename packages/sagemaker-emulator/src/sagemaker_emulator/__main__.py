"""The command `sagemaker-local`."""

import argparse
import contextlib
import difflib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sagemaker_emulator import client
from sagemaker_emulator.errors import Busy, CannotRun, LocalError

if TYPE_CHECKING:
    from sagemaker_emulator.api.store import Store

EXIT_CODES = """\
exit codes: 0 done; 1 an error, reported in one line; 2 a wrong command line;
`run` ends with the exit code of its command (127: not found, 128+N: ended by signal N)."""
BANNER = """\
sagemaker-local serves {folder} until Ctrl-C.
It is not AWS: no IAM, KMS, VPC or quotas, and no container; jobs run as you, on this machine.
Point boto3, the SDK or the AWS CLI at it:
"""
CONTENTS = {
    *("state.db", "state.db-wal", "state.db-shm", "events.jsonl", "server.json", "server.log"),
    *("logs", "jobs", "endpoints", "capture", "lock", ".gitignore"),
}
LATEST = 5  # resources that `status` names


@dataclass(frozen=True)
class Arguments:
    """The arguments of all commands; each command uses its own."""

    folder: Path  # of the state
    port: int = 0
    region: str | None = None
    speed: str | None = None
    words: Sequence[str] = ()  # the command to run
    name: str = ""  # of a job or an endpoint


def main(argv: Sequence[str] | None = None) -> int:
    members = vars(_parser().parse_args(argv))
    function: Callable[[Arguments], int] = members.pop("function")
    state = members.pop("state")
    folder = Path(state).resolve() if state else client.state_folder()
    try:
        return function(Arguments(folder, **members))
    except LocalError as error:
        code, message = error.exit_code, str(error)
    except OSError as error:
        code, message = LocalError.exit_code, str(error)
    print(f"sagemaker-local: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sagemaker-local",
        description="An Amazon SageMaker on this machine: pipelines, jobs, registry, endpoints.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(state=None)
    parser.add_argument("--state", metavar="DIR", help=argparse.SUPPRESS)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"state folder (default: {client.STATE} beside the nearest pyproject.toml)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[Arguments], int], help: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=help, description=help)
        added.set_defaults(function=function)
        return added

    up = command("up", _up, "serve until Ctrl-C, and print how to point programs at it")
    up.add_argument("--port", type=_port, default=0, help="port to listen on (default: a free one)")
    up.add_argument(
        "--speed",
        help="how many times shorter than on AWS the waits of endpoints are (default: 60)",
    )
    up.add_argument(
        "--region", help="region to print (default: AWS_REGION, else the project's, else us-east-1)"
    )
    run = command("run", _run, "serve for one command: sagemaker-local run -- COMMAND...")
    run.add_argument("words", nargs="+", metavar="COMMAND")
    command("status", _status, "say whether a server runs, and what the state folder holds")
    logs = command("logs", _logs, "print the log of a job or an endpoint")
    logs.add_argument("name", metavar="NAME")
    command("reset", _reset, "delete all local state; refused while a server runs")
    command("help", _help, "print the reference: what it has and how it differs from AWS")
    command("operations", _operations, "list the API operations of SageMaker that it has")
    # Without help text it is not listed: only client.py runs it.
    commands.add_parser("serve", parents=[common]).set_defaults(function=_serve)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _up(arguments: Arguments) -> int:
    from sagemaker_emulator.api import server

    region = client.region(arguments.region)

    def announce(url: str, secret: str) -> None:
        print(BANNER.format(folder=arguments.folder), file=sys.stderr)
        print(f"export AWS_ENDPOINT_URL={url}")
        exported = client.credentials(region, secret)
        print("export", " ".join(f"{k}={v}" for k, v in exported.items()))
        sys.stdout.flush()

    server.serve(arguments.folder, arguments.port, announce=announce, speed=arguments.speed)


def _serve(arguments: Arguments) -> int:
    from sagemaker_emulator.api import server

    try:
        server.serve(arguments.folder, until_eof=sys.stdin.buffer)
    except Busy:
        return client.BUSY


def _run(arguments: Arguments) -> int:
    with client.attach(state=arguments.folder) as local:
        environ = dict(os.environ)
        local.enter(environ)
        try:
            process = subprocess.Popen(arguments.words, env=environ)
        except OSError as error:
            raise CannotRun(f"cannot run {arguments.words[0]}: {error}") from None
        # Ctrl-C reaches the command as well, which decides what to do; this process waits for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    return code if code >= 0 else 128 - code


def _status(arguments: Arguments) -> int:
    folder = arguments.folder
    print(f"{'State folder':16}{folder} ({_size(folder)})")
    server = client.running(folder) if _is_locked(folder) else None
    at = f"{server.url} (pid {server.pid})" if server else "not running"
    print(f"{'Server':16}{at}")
    if (folder / "state.db").exists():
        from sagemaker_emulator.api.store import Store

        _print_contents(Store(folder / "state.db"))
    return 0


def _print_contents(store: "Store") -> None:
    """Count the resources, and name the latest executions, endpoints and model packages."""
    for kind in ("Pipeline", "ProcessingJob", "TrainingJob", "Model", "EndpointConfig"):
        print(f"{kind + 's':16}{len(store.list(kind))}")
    executions = store.list("PipelineExecution")
    states = Counter(document["PipelineExecutionStatus"] for document in executions)
    counted = "".join(f", {number} {state}" for state, number in states.items())
    print(f"{'Executions':16}{len(executions)}{counted}")
    for execution in executions[-LATEST:]:
        print(f"  {execution['PipelineExecutionStatus']:10} {execution['PipelineExecutionArn']}")
    endpoints = store.list("Endpoint")
    print(f"{'Endpoints':16}{len(endpoints)}")
    for endpoint in endpoints[-LATEST:]:
        print(f"  {endpoint['EndpointStatus']:22} {endpoint['EndpointArn']}")
    packages = store.list("ModelPackage")
    print(f"{'Model packages':16}{len(packages)}")
    for package in packages[-LATEST:]:
        print(f"  {package.get('ModelApprovalStatus', '-'):22} {package['ModelPackageArn']}")


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB"


def _is_locked(folder: Path) -> bool:
    from sagemaker_emulator.api import server

    if not (folder / "lock").exists():
        return False
    with contextlib.suppress(Busy), server.lock(folder):
        return False
    return True


def _logs(arguments: Arguments) -> int:
    folder, name = arguments.folder, arguments.name
    logs = {path.stem: path for path in sorted(folder.glob("logs/*/*.log"))}
    if name not in logs:
        near = difflib.get_close_matches(name, logs, n=3, cutoff=0.4) or list(logs)[-3:]
        hint = f"did you mean {' or '.join(near)}?" if near else "nothing has run yet."
        raise LocalError(f"no log of '{name}' in {folder}/logs; {hint}")
    with open(logs[name], "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return 0


def _reset(arguments: Arguments) -> int:
    from sagemaker_emulator.api import server

    folder = arguments.folder
    if not folder.exists():
        print(f"nothing to reset: there is no {folder}")
        return 0
    if not any((folder / name).exists() for name in client.MARKERS):
        raise LocalError(f"nothing to reset: {folder} holds no local state")
    try:
        with server.lock(folder):
            for path in folder.iterdir():
                if path.name in CONTENTS:  # the user may keep other files in the folder
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    except Busy as busy:
        raise Busy(f"{busy}: end it first, then reset") from None
    if not any(folder.iterdir()):
        folder.rmdir()
    print(f"reset {folder}")
    return 0


def _help(arguments: Arguments) -> int:
    print(Path(__file__).with_name("reference.md").read_text(encoding="utf-8"), end="")
    return 0


def _operations(arguments: Arguments) -> int:
    from sagemaker_emulator.api import sagemaker

    print("\n".join(sorted(sagemaker.OPERATIONS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
