"""Start, join and leave a server.

    with client.attach("/path/of/the/project") as local:
        os.environ.update(local.environment)  # see also `enter`

A server that runs for the state folder is joined; otherwise one is started in the background.
Each client holds one connection for as long as it lives, and the server ends when the last of them
has ended, even by a signal. Nothing here imports boto3 or moto, so a program can attach first and
import its SDK while the server starts.

A port of the loopback interface is open to every user of the machine, and the server runs code. So
each server has a secret, in a folder that only its owner can read, and refuses every request
without it; boto3 sends it as the session token of its credentials. To attach, client and server
prove to each other that they know the secret and neither sends it: after a server was killed,
another user may have taken its port.
"""

import contextlib
import hmac
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sagemaker_emulator.errors import LocalError

ATTACH = "/_sagemaker_local/attach"
CHALLENGE, PROOF = "x-local-challenge", "x-local-proof"  # headers of a request to attach
STATE = ".sagemaker_local"
REGION = "us-east-1"  # where neither a caller, the environment nor the project names one
LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d{1,5}")
MARKERS = {"lock", "state.db"}  # every state folder that is not new has one of them
BUSY = 75  # exit code of `serve`, which `_start` runs, where another server serves the folder
START_SECONDS = 60
LEAVE_SECONDS = 10

Process: TypeAlias = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Local:
    """A running server, as `attach()` returns it."""

    url: str
    region: str
    state: Path
    joined: bool  # it was running already, and may go on after this client has left
    secret: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point boto3, the SDK and the AWS CLI at the server."""
        return environment(self.url, self.region, self.secret)

    def enter(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Point this process at the server, and at nothing of the user's AWS configuration."""
        for name in [name for name in environ if name.startswith("AWS_")]:
            del environ[name]
        environ.update(self.environment)
        # HTTPS requests to other machines (the SDK's telemetry) go to the server, which refuses.
        environ.update(HTTPS_PROXY=self.url, https_proxy=self.url)


class Server(NamedTuple):
    """The content of `server.json`, which a running server writes for its clients."""

    url: str
    pid: int
    secret: str


def credentials(region: str, secret: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": secret,
        "AWS_DEFAULT_REGION": region,
    }


def proof(secret: str, role: str, challenge: str) -> str:
    """Return the proof, for a challenge, that `role` ("client" or "server") has the secret."""
    return hmac.new(secret.encode(), f"{role} {challenge}".encode(), "sha256").hexdigest()


def environment(url: str, region: str, secret: str) -> dict[str, str]:
    return {
        **credentials(region, secret),
        **_no_proxy(),
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",
        "SAGEMAKER_VALIDATE_ROLE": "false",
    }


def _no_proxy() -> dict[str, str]:
    """Return the variables that keep requests to this machine away from a proxy."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    value = ",".join(filter(None, [known, "127.0.0.1,localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def region(name: str | None = None, project: Path | str | None = None) -> str:
    """Return `name`, else the environment's region, else the project's, else us-east-1."""
    variables = ("AWS_REGION", "AWS_DEFAULT_REGION")
    environment = (os.environ[v] for v in variables if os.environ.get(v))
    return name or next(environment, "") or _project_region(project) or REGION


def _project_region(project: Path | str | None) -> str:
    """Return `region` of [tool.sagemaker-emulator] in the project's pyproject.toml, or ""."""
    pyproject = _project_folder(project) / "pyproject.toml"
    if not pyproject.is_file():
        return ""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(pyproject, "rb") as file:
            settings = tomllib.load(file)
        return str(settings.get("tool", {}).get("sagemaker-emulator", {}).get("region", ""))
    except (OSError, ValueError) as error:
        raise LocalError(f"{pyproject} cannot be read: {error}") from None


def _project_folder(start: Path | str | None) -> Path:
    """Return the nearest folder at or above `start` that has a pyproject.toml, else `start`."""
    start = Path(start or ".").resolve()
    folders = (start, *start.parents)
    return next((folder for folder in folders if (folder / "pyproject.toml").is_file()), start)


def state_folder(project: Path | str | None = None) -> Path:
    """Return the folder in which a project keeps its state."""
    return _project_folder(project) / STATE


def claim(folder: Path) -> None:
    """Create a state folder that only its owner can read; refuse a folder with other files."""
    check_owner(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(folder))
        if names and not names & MARKERS:
            raise LocalError(
                f"{folder} holds files and no local state; name an empty or a new folder"
            )
        folder.chmod(0o700)
        for name in ("lock", "server.log"):
            with open(folder / name, "ab"):
                pass
        if ".gitignore" not in names:
            (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise LocalError(f"cannot keep local state in {folder}: {error}") from None


@contextlib.contextmanager
def attach(
    project_dir: Path | str | None = None,
    region_name: str | None = None,
    state: Path | str | None = None,
) -> Iterator[Local]:
    """Start the server of a state folder, or join the one that runs, until the block ends.

    Args:
        project_dir: a folder of the project whose server it is; by default the working folder.
            Its state is in `.sagemaker_local/` beside the nearest pyproject.toml.
        region_name: by default that of the environment, else of the project, else us-east-1.
        state: another state folder.

    Raises:
        LocalError: why there is no server, in one line.
    """
    folder = Path(state).resolve() if state else state_folder(project_dir)
    region_ = region(region_name, project_dir)
    connection, server, started = _connect(folder)
    joined = started is None or started.pid != server.pid
    try:
        yield Local(server.url, region_, folder, joined, server.secret)
    finally:
        _leave(connection)
        if started:
            started.poll()


def _connect(folder: Path) -> tuple[http.client.HTTPConnection, Server, Process | None]:
    """Join the running server, else start one; the folder's lock decides between two starters.

    Return the connection, the server, and the process that was started, if any; in a race the
    server may be another one.
    """
    check_owner(folder)
    process, deadline = None, time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < deadline:
            if joined := _join(folder):
                return *joined, process
            if process is None:
                process = _start(folder)
            elif process.poll() == BUSY:
                _close_stdin(process)
                time.sleep(0.05)
                process = _start(folder)
            elif process.poll() is not None:
                raise LocalError(_why_it_ended(folder, process.returncode))
            time.sleep(0.005)
    finally:
        if process:
            _close_stdin(process)  # the open end has kept the new server waiting for this client
    raise LocalError(f"no local server within {START_SECONDS} s: see {folder}/server.log")


def _close_stdin(process: Process) -> None:
    if process.stdin:
        process.stdin.close()


def _leave(connection: http.client.HTTPConnection) -> None:
    """End the attachment; the server answers at once, or ends if this was its last client."""
    with contextlib.suppress(OSError):
        connection.sock.settimeout(LEAVE_SECONDS)
        connection.sock.shutdown(socket.SHUT_WR)
        connection.sock.recv(1)
    connection.close()


def running(folder: Path) -> Server | None:
    """Return the server that `server.json` names, if this user wrote it; it may be dead."""
    path = folder / "server.json"
    with contextlib.suppress(OSError, ValueError):
        about = json.loads(path.read_text())
        own = path.stat().st_uid == os.getuid() and about.get("secret")
        if own and LOOPBACK.fullmatch(about["url"]):
            return Server(about["url"], about["pid"], about["secret"])
    return None


def check_owner(folder: Path) -> None:
    """Refuse another user's state folder, which could point to a server of that user."""
    if folder.exists() and folder.stat().st_uid != os.getuid():
        raise LocalError(
            f"{folder} belongs to another user: name a folder of your own with --state"
        )


def _join(folder: Path) -> tuple[http.client.HTTPConnection, Server] | None:
    """Attach to the running server; return None if none runs that knows the secret."""
    server = running(folder)
    if not server:
        return None
    challenge = secrets.token_hex(16)
    headers = {CHALLENGE: challenge, PROOF: proof(server.secret, "client", challenge)}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", ATTACH, headers=headers)
        answer = connection.getresponse()
        expected = proof(server.secret, "server", challenge).encode()
        if answer.status == 200 and hmac.compare_digest(answer.read(), expected):
            return connection, server
    connection.close()
    return None


def _start(folder: Path) -> Process:
    claim(folder)
    with open(folder / "server.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "sagemaker_emulator", "serve", "--state", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )


def _why_it_ended(folder: Path, code: int) -> str:
    if code < 0:
        why = f"killed by signal {-code} ({signal.Signals(-code).name}): is there enough memory?"
        return f"the local server did not start: it was {why}"
    lines = (folder / "server.log").read_text(errors="replace").strip().splitlines()
    last = lines[-1].removeprefix("sagemaker-local: ") if lines else "is the disk full?"
    return f"the local server did not start (exit code {code}): {last}"
