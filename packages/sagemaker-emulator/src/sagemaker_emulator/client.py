"""How a program gets a running server, and gives it back.

    with client.attach("/path/of/the/project") as local:
        os.environ.update(local.environment)  # see also `enter`

A server that runs for the state folder is joined; otherwise one is started in the background.
Each client holds one connection for as long as it lives, and the server ends with the last of
them, whatever became of the clients. Nothing here imports boto3 or moto, so a program can attach
first and import its SDK while the server boots.

A port of the loopback interface is open to every user of the machine, and the server runs code. So
each server has a secret, in a folder that only its owner can read, and refuses every request
without it; boto3 sends it as the session token of its credentials. To attach, client and server
prove to each other that they know the secret and neither sends it: when a server was killed,
another user may have its port by now.
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

from sagemaker_emulator.errors import LocalError

ATTACH = "/_sagemaker_local/attach"
CHALLENGE, PROOF = "x-local-challenge", "x-local-proof"  # headers of a request to attach
STATE = ".sagemaker_local"
REGION = "us-east-1"  # where neither a caller, the environment nor the project names one
LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d{1,5}")
OURS = {"lock", "state.db"}  # what tells a state folder from any other
BUSY = 75  # exit code of a server that found another one serving the folder
START_SECONDS = 60
GOODBYE_SECONDS = 10


@dataclass(frozen=True)
class Local:
    """A running server, as `attach()` gives it to a program."""

    url: str
    region: str
    state: Path
    joined: bool  # somebody else's server, which may outlive us
    secret: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point boto3, the SDK and the AWS CLI at the server."""
        return environment(self.url, self.region, self.secret)

    def enter(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Point a process at the server, and at nothing of the user's AWS set-up."""
        for name in [name for name in environ if name.startswith("AWS_")]:
            del environ[name]
        environ.update(self.environment)
        # What would leave this machine all the same (the SDK's telemetry) meets a closed door.
        environ.update(HTTPS_PROXY=self.url, https_proxy=self.url)


def credentials(region, secret):
    return {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": secret,
        "AWS_DEFAULT_REGION": region,
    }


def proof(secret, who, challenge):
    """What only `who`, "client" or "server", can answer to a challenge who knows the secret."""
    return hmac.new(secret.encode(), f"{who} {challenge}".encode(), "sha256").hexdigest()


def environment(url, region, secret):
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


def _no_proxy():
    """A proxy must not be asked for what is on this machine."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    value = ",".join(filter(None, [known, "127.0.0.1,localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def region(given: str | None = None, project: Path | str | None = None) -> str:
    """`given`, else the environment's region, else the project's, else us-east-1."""
    names = ("AWS_REGION", "AWS_DEFAULT_REGION")
    environment = (os.environ[name] for name in names if os.environ.get(name))
    return given or next(environment, "") or _project_region(project) or REGION


def _project_region(project: Path | str | None) -> str:
    """`region` in the table tool.sagemaker-emulator of the project's pyproject.toml, or nothing."""
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
    """The nearest folder at or above `start` that has a pyproject.toml, else `start`."""
    start = Path(start or ".").resolve()
    folders = (start, *start.parents)
    return next((folder for folder in folders if (folder / "pyproject.toml").is_file()), start)


def state_folder(project: Path | str | None = None) -> Path:
    """Where a project keeps its state."""
    return _project_folder(project) / STATE


def claim(folder):
    """Make the state folder, for nobody else to read; one that holds other things is refused."""
    check_owner(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(folder))
        if names and not names & OURS:
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
    """Start the server of a state folder, or join the one that runs, for as long as the block.

    Args:
        project_dir: a folder of the project whose server it is; by default the working folder.
            Its state is in `.sagemaker_local/` beside the nearest pyproject.toml.
        region_name: by default that of the environment, else of the project, else us-east-1.
        state: another state folder.

    Raises:
        LocalError: there is no server, and why. The message is one line.
    """
    folder = Path(state).resolve() if state else state_folder(project_dir)
    region_ = region(region_name, project_dir)
    connection, serving, started = _connect(folder)
    joined = started is None or started.pid != serving["pid"]
    try:
        yield Local(serving["url"], region_, folder, joined, serving["secret"])
    finally:
        _leave(connection, started)


def _connect(folder):
    """Join the running server, else start one; between two starters the folder's lock decides."""
    check_owner(folder)
    server, deadline = None, time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < deadline:
            if joined := _join(folder):
                return *joined, server
            if server is None or server.poll() == BUSY:
                server = _start(folder, server)
            elif server.poll() is not None:
                raise LocalError(_why_it_ended(folder, server))
            time.sleep(0.005)
    finally:
        if server:
            server.stdin.close()  # until here it kept the new server waiting for us
    raise LocalError(f"no local server within {START_SECONDS} s: see {folder}/server.log")


def _leave(connection, started):
    """Say goodbye and wait: the server answers at once, or ends if this was the last client."""
    with contextlib.suppress(OSError):
        connection.sock.settimeout(GOODBYE_SECONDS)
        connection.sock.shutdown(socket.SHUT_WR)
        connection.sock.recv(1)
    connection.close()
    if started:
        started.poll()


def running(folder):
    """What the running server says of itself: {"url", "pid", "secret", ...}, or None."""
    path = folder / "server.json"
    with contextlib.suppress(OSError, ValueError):
        about = json.loads(path.read_text())
        ours = path.stat().st_uid == os.getuid() and about.get("secret")
        return about if ours and LOOPBACK.fullmatch(about["url"]) else None
    return None


def check_owner(folder):
    """Refuse a state folder of another user, who could have this user talk to any server."""
    if folder.exists() and folder.stat().st_uid != os.getuid():
        raise LocalError(f"{folder} belongs to another user: name a folder of yours with --state")


def _join(folder):
    server = running(folder)
    if not server:
        return None
    secret, challenge = server["secret"], secrets.token_hex(16)
    headers = {CHALLENGE: challenge, PROOF: proof(secret, "client", challenge)}
    connection = http.client.HTTPConnection(server["url"].removeprefix("http://"), timeout=10)
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", ATTACH, headers=headers)
        answer = connection.getresponse()
        expected = proof(secret, "server", challenge).encode()
        if answer.status == 200 and hmac.compare_digest(answer.read(), expected):
            return connection, server
    connection.close()
    return None


def _start(folder, before):
    if before:
        before.stdin.close()
        time.sleep(0.05)
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


def _why_it_ended(folder, server):
    code = server.returncode
    if code < 0:
        why = f"killed by signal {-code} ({signal.Signals(-code).name}): is there enough memory?"
        return f"the local server did not start: it was {why}"
    said = (folder / "server.log").read_text(errors="replace").strip().splitlines()
    last = said[-1].removeprefix("sagemaker-local: ") if said else "is the disk full?"
    return f"the local server did not start (exit code {code}): {last}"
