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
from pathlib import Path

from sagemaker_emulator import client
from sagemaker_emulator.errors import LocalError

EXIT_CODES = """\
exit codes: 0 done; 1 an error, told in one line; 2 a wrong command line;
`run` ends with the exit code of its command (127: not found, 128+N: ended by signal N)."""
BANNER = """\
sagemaker-local serves {folder} until Ctrl-C.
It is not AWS: no IAM, KMS, VPC or quotas, and no container; jobs run as you, on this machine.
Point boto3, the SDK or the AWS CLI at it:
"""
CONTENTS = {
    *("state.db", "state.db-wal", "state.db-shm", "events.jsonl", "server.json", "server.log"),
    *("logs", "jobs", "endpoints", "lock", ".gitignore"),
}


def main(argv=None):
    arguments = _parser().parse_args(argv)
    folder = Path(arguments.state).resolve() if arguments.state else client.state_folder()
    try:
        return arguments.function(folder, arguments)
    except (LocalError, OSError) as error:
        print(f"sagemaker-local: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="sagemaker-local",
        description="An Amazon SageMaker on this machine: pipelines, jobs, registry, endpoints.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(state=None)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"state folder (default: {client.STATE} beside the nearest pyproject.toml)",
    )
    parser.add_argument("--state", metavar="DIR", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, function, help):
        added = commands.add_parser(name, parents=[common], help=help, description=help)
        added.set_defaults(function=function)
        return added

    up = command("up", _up, "serve until Ctrl-C, and print how to point programs at it")
    up.add_argument("--port", type=_port, default=0, help="port to listen on (default: a free one)")
    up.add_argument("--speed", help="times faster than AWS do endpoints wait (default: 60)")
    up.add_argument(
        "--region", help="region to print (default: AWS_REGION, else the project's, else us-east-1)"
    )
    run = command("run", _run, "serve for one command: sagemaker-local run -- COMMAND...")
    run.add_argument("words", nargs="+", metavar="COMMAND")
    command("status", _status, "say whether a server runs, and what the state folder holds")
    logs = command("logs", _logs, "print the log of a job or an endpoint")
    logs.add_argument("job", metavar="NAME")
    command("reset", _reset, "delete all local state; refused while a server runs")
    command("help", _help, "print the reference: what it has and how it differs from AWS")
    command("operations", _operations, "list the API operations that there are")
    commands.add_parser("serve", parents=[common]).set_defaults(function=_serve)  # client.py's
    return parser


def _port(text):
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _up(folder, arguments):
    from sagemaker_emulator.api import server

    region = client.region(arguments.region)

    def announce(url, secret):
        print(BANNER.format(folder=folder), file=sys.stderr)
        print(f"export AWS_ENDPOINT_URL={url}")
        exported = client.credentials(region, secret)
        print("export", " ".join(f"{k}={v}" for k, v in exported.items()))
        sys.stdout.flush()

    server.serve(folder, arguments.port, announce=announce, speed=arguments.speed)


def _serve(folder, arguments):
    from sagemaker_emulator.api import server

    try:
        server.serve(folder, until_eof=sys.stdin.buffer)
    except server.Busy:
        return client.BUSY


def _run(folder, arguments):
    with client.attach(state=folder) as local:
        environ = dict(os.environ)
        local.enter(environ)
        try:
            process = subprocess.Popen(arguments.words, env=environ)
        except OSError as error:
            print(f"sagemaker-local: cannot run {arguments.words[0]}: {error}", file=sys.stderr)
            return 127
        # Ctrl-C reaches the command as well; it decides what that means, we wait for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    return code if code >= 0 else 128 - code


def _status(folder, arguments):
    print(f"{'State folder':16}{folder} ({_size(folder)})")
    server = client.running(folder) if _is_locked(folder) else None
    at = f"{server['url']} (pid {server['pid']})" if server else "not running"
    print(f"{'Server':16}{at}")
    if not (folder / "state.db").exists():
        return 0
    from sagemaker_emulator.api.store import Store

    store = Store(folder / "state.db")
    for kind in ("Pipeline", "ProcessingJob", "TrainingJob", "Model", "EndpointConfig"):
        print(f"{kind + 's':16}{len(store.list(kind))}")
    executions = store.list("PipelineExecution")
    states = Counter(document["PipelineExecutionStatus"] for document in executions)
    counted = "".join(f", {number} {state}" for state, number in states.items())
    print(f"{'Executions':16}{len(executions)}{counted}")
    for execution in executions[-5:]:
        print(f"  {execution['PipelineExecutionStatus']:10} {execution['PipelineExecutionArn']}")
    endpoints = store.list("Endpoint")
    print(f"{'Endpoints':16}{len(endpoints)}")
    for endpoint in endpoints[-5:]:
        print(f"  {endpoint['EndpointStatus']:22} {endpoint['EndpointArn']}")
    packages = store.list("ModelPackage")
    print(f"{'Model packages':16}{len(packages)}")
    for package in packages[-5:]:
        print(f"  {package.get('ModelApprovalStatus', '-'):22} {package['ModelPackageArn']}")
    return 0


def _size(folder):
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB"


def _is_locked(folder):
    from sagemaker_emulator.api import server

    if not (folder / "lock").exists():
        return False
    with contextlib.suppress(server.Busy), server.lock(folder):
        return False
    return True


def _logs(folder, arguments):
    logs = {path.stem: path for path in sorted(folder.glob("logs/*/*.log"))}
    if arguments.job not in logs:
        near = difflib.get_close_matches(arguments.job, logs, n=3, cutoff=0.4) or list(logs)[-3:]
        hint = f"did you mean {' or '.join(near)}?" if near else "nothing has run yet."
        raise LocalError(f"no log of '{arguments.job}' in {folder}/logs; {hint}")
    with open(logs[arguments.job], "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return 0


def _reset(folder, arguments):
    from sagemaker_emulator.api import server

    if not folder.exists():
        print(f"nothing to reset: there is no {folder}")
        return 0
    if not any((folder / name).exists() for name in client.OURS):
        raise LocalError(f"nothing to reset: {folder} holds no local state")
    try:
        with server.lock(folder):
            for path in folder.iterdir():
                if path.name in CONTENTS:  # the folder may be anybody's: only what is ours
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    except server.Busy as busy:
        raise LocalError(f"{busy}: end it first, then reset") from None
    if not any(folder.iterdir()):
        folder.rmdir()
    print(f"reset {folder}")
    return 0


def _help(folder, arguments):
    print(Path(__file__).with_name("reference.md").read_text(encoding="utf-8"), end="")
    return 0


def _operations(folder, arguments):
    from sagemaker_emulator.api import sagemaker

    print("\n".join(sorted(sagemaker.OPERATIONS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
