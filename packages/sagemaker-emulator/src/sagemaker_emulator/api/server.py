"""The process: one HTTP front on the loopback interface.

SageMaker's requests are answered here, all others by moto (other_services.py); the signature's
scope tells them apart. Signatures are not verified and requests run code, so only programs of this
user may send any. The socket is bound to 127.0.0.1. A request is refused, before its body is kept,
if it lacks the server's secret as its session token (client.py), names another host, or was sent by
a browser for a web page (Origin, Sec-Fetch-Site).

The server lives as long as a client is attached (client.py): its starter through standard input,
and any number of clients through one open connection each.
"""

import contextlib
import fcntl
import hmac
import json
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from xml.sax.saxutils import escape

from sagemaker_emulator.api import faults, http, resources, service_model
from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.api.request import Request, Response, session_token
from sagemaker_emulator.api.sagemaker import SageMaker
from sagemaker_emulator.client import ATTACH, CHALLENGE, PROOF, claim, proof
from sagemaker_emulator.errors import AwsError, Busy, LocalError, as_aws_error, invalid
from sagemaker_emulator.hosting.responses import MAX_BODY, too_large

OWN_SITES = ("none", "same-origin")  # Sec-Fetch-Site where no other site's page sent the request
ONLY_PROGRAMS = Response(403, body=b"only programs on this machine\n")
NO_SECRET = AwsError(
    "InvalidClientTokenId",
    "The session token is not this server's: use the credentials that its `sagemaker-local up`"
    " printed, or `sagemaker-local run -- COMMAND`",
    403,
)


class Front:
    """The entrance for all requests: refuses, routes and answers them; counts attached clients."""

    def __init__(self, sagemaker: SageMaker) -> None:
        self.sagemaker = sagemaker
        self.hosts: set[str] = set()  # the values of the header Host that name this server
        self.lock = threading.Lock()
        self.attached = 0
        self.ended = False
        self.faults = faults.Faults(_error) if os.environ.get(faults.SWITCH) == "1" else None
        self.waiting, self.writing = os.pipe()  # a byte in it ends the server

    def refusal(
        self, method: str, target: str, headers: http.Headers, size: int
    ) -> http.Response | None:
        """Return the response to a request that is refused, else None. Runs on the event loop."""
        if size > MAX_BODY and self.sagemaker.runtime.takes(method, target, headers):
            return too_large()
        browser = "origin" in headers or headers.get("sec-fetch-site", "none") not in OWN_SITES
        if browser or headers.get("host") not in self.hosts:
            return ONLY_PROGRAMS
        if size or self._knows_the_secret(target, headers):
            return None
        return _error(Request.received(method, target, headers.items(), b""), NO_SECRET)

    def _knows_the_secret(self, target: str, headers: http.Headers) -> bool:
        secret = self.sagemaker.secret
        if target == ATTACH:
            given = headers.get(PROOF, "")
            expected = proof(secret, "client", headers.get(CHALLENGE, ""))
        else:
            given, expected = session_token(target, headers), secret
        return hmac.compare_digest(given.encode(), expected.encode())

    def handle(
        self, method: str, target: str, headers: http.Headers, body: bytes
    ) -> http.Answer | http.Later:
        """Answer a request. Runs on the event loop."""
        if target == ATTACH:
            return self._attach(headers.get(CHALLENGE, ""))
        runtime = self.sagemaker.runtime
        if runtime.takes(method, target, headers):
            return runtime.handle(target, headers, body)
        return self._in_thread(Request.received(method, target, headers.items(), body))

    def _attach(self, challenge: str) -> http.Answer:
        """Attach a client until its connection ends, for whatever reason."""
        if not self.enter():
            return Response(503)
        answer = proof(self.sagemaker.secret, "server", challenge).encode()
        return http.Held(Response(200, body=answer), self._client_left)

    def _client_left(self) -> bool:
        self.leave()
        return self.ended  # the last client sees its connection end when this process has ended

    def _in_thread(self, request: Request) -> http.Later:
        """Answer on a new thread. Their number is unlimited: one request may wait for another."""
        later = http.Later()

        def work() -> None:
            answer: http.Answer
            try:
                answer = self._answer_or_fault(request)
            except Exception as error:
                answer = http.internal_error(error)
            self.sagemaker.runtime.loop.call_soon_threadsafe(later.set_answer, answer)

        _in_background(work)
        return later

    def _answer_or_fault(self, request: Request) -> http.Answer:
        if self.faults is None:
            return self.answer(request)
        if request.plain_path == faults.PATH:
            return self.faults.handle(request)
        return self.faults.around(request, self.answer)

    def answer(self, request: Request) -> Response:
        """Answer a request to any service but SageMaker's runtime."""
        try:
            if request.service == "sagemaker":
                return self._sagemaker(request)
            if request.plain_path.startswith(("/moto-api", "/latest/")):
                raise AwsError("AccessDenied", "moto's own interface is not served here", 403)
            return self.sagemaker.other_services.handle(request)
        except RecursionError:
            return _error(request, invalid("the request is nested too deeply"))
        except Exception as error:
            return _error(request, as_aws_error(error))

    def _sagemaker(self, request: Request) -> Response:
        name = request.action or f"{request.method} {request.plain_path} (a runtime API)"
        try:
            members = json.loads(request.body or b"{}")
        except ValueError as error:
            raise AwsError("SerializationException", f"not JSON: {error}") from None
        resources.CALLER.set(f"user/{request.access_key}")
        return _json(200, self.sagemaker.call(name, members, request.region))

    def enter(self) -> bool:
        """Count one more client; return False if the server is ending."""
        with self.lock:
            if self.ended:
                return False
            self.attached += 1
            return True

    def leave(self) -> None:
        """Count one client less; after the last one, end."""
        with self.lock:
            self.attached -= 1
            if not self.attached:
                self.end()

    def end(self) -> None:
        """Make the server end. Signal handlers call this at any moment, so it takes no lock."""
        self.ended = True
        os.write(self.writing, b".")


def _json(status: int, content: Json, headers: Iterable[tuple[str, str]] = ()) -> Response:
    body = json.dumps(content).encode()
    kind = ("Content-Type", "application/x-amz-json-1.1")
    return Response(status, [kind, ("x-amzn-RequestId", str(uuid.uuid4())), *headers], body)


def _error(request: Request, error: AwsError) -> Response:
    """Return an error in the form of the service's protocol: XML (S3, query protocol) or JSON."""
    if request.service == "s3" or request.is_query:
        code, message = escape(error.code), escape(error.message)
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        text = text if request.service == "s3" else f"<ErrorResponse>{text}</ErrorResponse>"
        return Response(error.status, [("Content-Type", "text/xml")], text.encode())
    content = {"__type": error.code, "message": error.message}
    return _json(error.status, content, [("x-amzn-ErrorType", error.code)])


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock the state folder during the block; raise Busy if another process has it open."""
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"a local server is already running for {folder}") from None
        yield


def serve(
    folder: Path,
    port: int = 0,
    until_eof: BinaryIO | None = None,
    announce: Callable[[str, str], None] | None = None,
    speed: str | None = None,
) -> NoReturn:
    """Serve until the last client has left, or a signal comes; then end the process.

    Args:
        port: 0 for a free one.
        until_eof: a stream that counts as a client until it ends. Without one the server stays
            until a signal comes.
        announce: called with the URL and the secret once the server listens.
        speed: the factor by which waits are shorter than on AWS.
    """
    folder = Path(folder).resolve()
    claim(folder)
    with lock(folder):
        sagemaker = SageMaker(folder, speed)
        front = Front(sagemaker)
        front.enter()
        listener = _listen(port)
        port = listener.getsockname()[1]
        front.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        url = f"http://127.0.0.1:{port}"
        sagemaker.begin(url)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: front.end())
        _in_background(sagemaker.other_services.load)
        _in_background(service_model.service)
        sagemaker.runtime.serve(listener, front)
        about = {"url": url, "pid": os.getpid(), "speed": sagemaker.speed}
        about["secret"] = sagemaker.secret
        _write_whole(folder / "server.json", json.dumps(about))
        if until_eof:
            _in_background(_leave_at_eof, front, until_eof)
        if announce:
            announce(url, sagemaker.secret)
        os.read(front.waiting, 1)
        (folder / "server.json").unlink(missing_ok=True)
        sagemaker.close()
    sys.stdout.flush()
    os._exit(0)  # the threads hold nothing that must be saved, and moto's objects take long to free


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=512)
    except OSError as error:
        raise LocalError(f"cannot listen on port {port}: {error}; choose another one") from None


def _leave_at_eof(front: Front, stream: BinaryIO) -> None:
    stream.read()
    front.leave()


def _in_background(function: Callable[..., object], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _write_whole(path: Path, text: str) -> None:
    """Write a file that other processes see with all of its content or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    os.replace(temporary, path)
