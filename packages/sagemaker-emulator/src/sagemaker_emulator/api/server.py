"""The process: one HTTP front on the loopback interface.

SageMaker's requests are answered here, all others go to moto (neighbours.py); the signature's
scope tells them apart. Signatures are not verified and requests run code, so only programs of this
user are let in: the socket is bound to 127.0.0.1; a request without the server's secret as its
session token (client.py), that names another host, or that a browser sent for a web page (Origin,
Sec-Fetch-Site), is refused before its body is kept.

The server lives as long as somebody is attached (client.py): its starter through standard input,
then any number of clients, each through one open connection.
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
import traceback
import uuid
from pathlib import Path
from xml.sax.saxutils import escape

from sagemaker_emulator.api import faults, http, resources
from sagemaker_emulator.api import service_model as model
from sagemaker_emulator.api.request import Request, Response, session_token
from sagemaker_emulator.api.sagemaker import SageMaker
from sagemaker_emulator.client import ATTACH, CHALLENGE, PROOF, claim, proof
from sagemaker_emulator.errors import AwsError, LocalError, invalid
from sagemaker_emulator.hosting.responses import MAX_BODY, too_large

OWN_SITES = ("none", "same-origin")  # what a browser says of no web page, or of one of ours
ONLY_PROGRAMS = Response(403, body=b"only programs on this machine\n")
NO_SECRET = AwsError(
    "InvalidClientTokenId",
    "The session token is not this server's: take the credentials that its `sagemaker-local up`"
    " printed, or `sagemaker-local run -- COMMAND`",
    403,
)


class Busy(LocalError):
    pass


class Front:
    """What is answered to whom, and who is attached."""

    def __init__(self, sagemaker):
        self.sagemaker = sagemaker
        self.hosts = set()
        self.lock = threading.Lock()
        self.attached = 0
        self.ended = False
        self.faults = faults.Faults(_error) if os.environ.get(faults.SWITCH) == "1" else None
        self.waiting, self.writing = os.pipe()

    def refusal(self, method, target, headers, size):
        """Called on the event loop as a request comes in."""
        if size > MAX_BODY and self.sagemaker.runtime.takes(method, target, headers):
            return too_large()
        browser = "origin" in headers or headers.get("sec-fetch-site", "none") not in OWN_SITES
        if browser or headers.get("host") not in self.hosts:
            return ONLY_PROGRAMS
        return (
            None
            if size or self._knows_the_secret(target, headers)
            else _no_secret(method, target, headers)
        )

    def _knows_the_secret(self, target, headers):
        secret = self.sagemaker.secret
        if target == ATTACH:
            given = headers.get(PROOF, "")
            expected = proof(secret, "client", headers.get(CHALLENGE, ""))
        else:
            given, expected = session_token(target, headers), secret
        return hmac.compare_digest(given.encode(), expected.encode())

    def handle(self, method, target, headers, body):
        """Called on the event loop for each request."""
        if target == ATTACH:
            return self._attach(headers.get(CHALLENGE, ""))
        runtime = self.sagemaker.runtime
        if runtime.takes(method, target, headers):
            return runtime.handle(target, headers, body)
        return self._in_thread(Request.received(method, target, headers.items(), body))

    def _attach(self, challenge):
        """A client's attachment: it lasts until the client goes, however it goes."""
        if not self.enter():
            return Response(503)
        answer = proof(self.sagemaker.secret, "server", challenge).encode()
        return http.Held(Response(200, body=answer), self._left)

    def _left(self):
        self.leave()
        return self.ended  # the client sees the end of its connection when we are gone

    def _in_thread(self, request):
        """A thread for each, without a limit: one request may be what another one waits for."""
        later = http.Later()

        def work():
            try:
                answer = self._answer_or_fault(request)
            except Exception:
                answer = http.broke()
            self.sagemaker.runtime.loop.call_soon_threadsafe(later.give, answer)

        _in_background(work)
        return later

    def _answer_or_fault(self, request):
        if self.faults is None:
            return self.answer(request)
        if request.plain_path == faults.PATH:
            return self.faults.handle(request)
        return self.faults.around(request, self.answer)

    def answer(self, request):
        try:
            if request.service == "sagemaker":
                return self._sagemaker(request)
            if request.plain_path.startswith(("/moto-api", "/latest/")):
                raise AwsError("AccessDenied", "moto's own interface is not served here", 403)
            return self.sagemaker.neighbours.handle(request)
        except AwsError as error:
            return _error(request, error)
        except RecursionError:
            return _error(request, invalid("the request is nested too deeply"))
        except Exception as error:
            traceback.print_exc()
            broke = AwsError("InternalFailure", f"sagemaker_emulator broke: {error!r}", 500)
            return _error(request, broke)

    def _sagemaker(self, request):
        name = request.action or f"{request.method} {request.plain_path} (a runtime API)"
        try:
            members = json.loads(request.body or b"{}")
        except ValueError as error:
            raise AwsError("SerializationException", f"not JSON: {error}") from None
        resources.CALLER.set(f"user/{request.access_key}")
        return _json(200, self.sagemaker.call(name, members, request.region))

    def enter(self):
        with self.lock:
            if self.ended:
                return False
            self.attached += 1
            return True

    def leave(self):
        with self.lock:
            self.attached -= 1
            if not self.attached:
                self.end()

    def end(self):
        """Also called by signals, in the middle of anything: so it may not wait for a lock."""
        self.ended = True
        os.write(self.writing, b".")


def _json(status, content, headers=()):
    body = json.dumps(content).encode()
    kind = ("Content-Type", "application/x-amz-json-1.1")
    return Response(status, [kind, ("x-amzn-RequestId", str(uuid.uuid4())), *headers], body)


def _error(request, error):
    """S3 and the query protocol (IAM, STS, ...) speak XML, all others JSON."""
    if request.service == "s3" or request.is_query:
        code, message = escape(error.code), escape(error.message)
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        text = text if request.service == "s3" else f"<ErrorResponse>{text}</ErrorResponse>"
        return Response(error.status, [("Content-Type", "text/xml")], text.encode())
    content = {"__type": error.code, "message": error.message}
    return _json(error.status, content, [("x-amzn-ErrorType", error.code)])


def _no_secret(method, target, headers):
    return _error(Request.received(method, target, headers.items(), b""), NO_SECRET)


@contextlib.contextmanager
def lock(folder):
    """Only one process at a time may have the state open."""
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"a local server is already running for {folder}") from None
        yield


def serve(folder, port=0, until_eof=None, announce=None, speed=None):
    """Serve until the last attachment is gone, or a signal comes.

    `until_eof` is a stream that counts as an attachment until it ends; without one the server
    stays until it is told to stop.
    """
    folder = Path(folder).resolve()
    claim(folder)
    with lock(folder):
        sagemaker = SageMaker(folder, speed)
        front = Front(sagemaker)
        front.enter()
        try:
            listener = socket.create_server(("127.0.0.1", port), backlog=512)
        except OSError as error:
            raise LocalError(f"cannot listen on port {port}: {error}; choose another one") from None
        port = listener.getsockname()[1]
        front.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        url = f"http://127.0.0.1:{port}"
        sagemaker.begin(url)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: front.end())
        _in_background(sagemaker.neighbours.load)
        _in_background(model.service)
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
    os._exit(0)  # the threads hold nothing that must be saved, and moto is slow to take apart


def _leave_at_eof(front, stream):
    stream.read()
    front.leave()


def _in_background(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _write_whole(path, text):
    """The file appears with its content or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    os.replace(temporary, path)
