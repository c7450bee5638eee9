"""The process: one HTTP front on the loopback interface.

SageMaker's requests are answered here, all others go to moto (neighbours.py); the signature's
scope tells them apart. Signatures are not verified and requests run code, so only programs on
this machine are let in: the socket is bound to 127.0.0.1, and a request that names another host,
or that a browser sent for a web page (Origin), is refused.

The server lives as long as somebody is attached (client.py): its starter through standard input,
then any number of clients, each through one open connection.
"""

import contextlib
import fcntl
import json
import os
import signal
import socketserver
import sys
import threading
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

from . import jobs, model, neighbours, pipelines, registry, resources
from .client import ATTACH, claim
from .errors import AwsError, LocalError
from .store import Store
from .wire import FLEETING, Request, Response

OPERATIONS = {
    **resources.OPERATIONS,
    **registry.OPERATIONS,
    **jobs.OPERATIONS,
    **pipelines.OPERATIONS,
}


class Busy(LocalError):
    pass


class SageMaker:
    """The API as a function: operation name, request and region in, answer out."""

    def __init__(self, folder):
        self.folder = folder
        self.store = Store(folder / "state.db")
        self._recover()
        self.neighbours = neighbours.Neighbours(self.store)
        self.jobs = jobs.Jobs(folder, self.store, self.neighbours)
        self.neighbours.before["logs"] = self.jobs.import_logs
        self.executions = {}

    def _recover(self):
        """What the store says is running, and is not, has failed."""
        jobs.recover(self.store)
        pipelines.recover(self.store)

    def close(self):
        self.store.lock.acquire()  # for good: no thread writes any more
        self.jobs.kill()
        self.jobs.tidy()
        self._recover()
        self.store.close()

    def call(self, name, request, region):
        if name not in OPERATIONS:
            raise resources.lacking(name)
        operation = model.operation(name)
        if operation.input_shape:
            model.check(operation.input_shape, request)
        result = OPERATIONS[name](self, request, region)
        if not operation.output_shape:
            return {}
        return model.answer(operation.output_shape, result)


class Front:
    """What is answered to whom, and who is attached."""

    def __init__(self, sagemaker):
        self.sagemaker = sagemaker
        self.hosts = set()
        self.lock = threading.Lock()
        self.attached = 0
        self.ended = False
        self.waiting, self.writing = os.pipe()

    def admits(self, request):
        return request.headers.get("host") in self.hosts and "origin" not in request.headers

    def answer(self, request):
        try:
            if request.service == "sagemaker":
                return self._sagemaker(request)
            if request.plain_path.startswith(("/moto-api", "/latest/")):
                raise AwsError("AccessDenied", "moto's own interface is not served here", 403)
            return self.sagemaker.neighbours.handle(request)
        except AwsError as error:
            return _error(request, error)
        except Exception as error:
            traceback.print_exc()
            broke = AwsError("InternalFailure", f"sagemaker_local broke: {error!r}", 500)
            return _error(request, broke)

    def _sagemaker(self, request):
        name = request.action or f"{request.method} {request.plain_path} (a runtime API)"
        try:
            members = json.loads(request.body or b"{}")
        except ValueError as error:
            raise AwsError("SerializationException", f"not JSON: {error}") from None
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


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # a response leaves in one piece

    def handle_expect_100(self):
        super().handle_expect_100()
        self.wfile.flush()  # the client sends the body when it sees this, or a second later
        return True

    def handle_any(self):
        headers = self.headers.items()
        request = Request.received(self.command, self.path, headers, self._body())
        front = self.server.front
        if not front.admits(request):
            self._send(Response(403, body=b"only programs on this machine\n"))
        elif self.path != ATTACH:
            self._send(front.answer(request))
        elif front.enter():
            self._hold(front)
        else:
            self._send(Response(503))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = handle_any

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailing headers
            pass
        return b"".join(chunks)

    def _send(self, response):
        self.send_response(response.status)
        given = {name.lower() for name, _ in response.headers}
        for name, value in response.headers:
            if name.lower() not in FLEETING or name.lower() == "content-length":
                self.send_header(name, value)
        if "content-length" not in given:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _hold(self, front):
        """A client's attachment: it lasts until the client goes, however it goes."""
        try:
            self._send(Response(200, body=str(os.getpid()).encode()))
            self.wfile.flush()
            with contextlib.suppress(OSError):
                while self.connection.recv(1):
                    pass
        finally:
            front.leave()
        if front.ended:
            threading.Event().wait()  # the client sees the end of the connection when we are gone
        self.close_connection = True

    def log_message(self, *_):
        pass


class Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, front):
        super().__init__(("127.0.0.1", port), Handler)
        self.front = front
        front.hosts = {f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def server_bind(self):
        # Not HTTPServer's: that one looks the host's name up, which may take seconds offline.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hung up
            traceback.print_exc()


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


@contextlib.contextmanager
def lock(folder):
    """Only one process at a time may have the state open."""
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"a local server is already running for {folder}") from None
        yield


def serve(folder, port=0, until_eof=None, announce=None):
    """Serve until the last attachment is gone, or a signal comes.

    `until_eof` is a stream that counts as an attachment until it ends; without one the server
    stays until it is told to stop.
    """
    folder = Path(folder).resolve()
    claim(folder)
    with lock(folder):
        sagemaker = SageMaker(folder)
        front = Front(sagemaker)
        front.enter()
        try:
            http = Http(port, front)
        except OSError as error:
            raise LocalError(f"cannot listen on port {port}: {error}; choose another one") from None
        sagemaker.jobs.url = http.url
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: front.end())
        _in_background(sagemaker.neighbours.load)
        _in_background(http.serve_forever)
        _in_background(model.service)
        _write_whole(folder / "server.json", json.dumps({"url": http.url, "pid": os.getpid()}))
        if until_eof:
            _in_background(_leave_at_eof, front, until_eof)
        if announce:
            announce(http.url)
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
    temporary.write_text(text)
    os.replace(temporary, path)
