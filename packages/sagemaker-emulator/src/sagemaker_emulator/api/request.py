"""An HTTP request and its answer as plain values: received, passed on, recorded, given again."""

import io
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

SCOPE = re.compile(r"Credential=[^/,=\s]{1,128}/\d{8}/([^/]{1,64})/([^/]{1,64})/aws4_request")
ACCESS_KEY = re.compile(r"Credential=([^/,=\s]{1,128})/")
TOKEN = re.compile(r"(?i)&?X-Amz-Security-Token=[^&]*")  # in the query of a presigned URL
FORM = "application/x-www-form-urlencoded"
# What belongs to one connection or one signature, and is meaningless in a recorded request.
FLEETING = {
    *("connection", "expect", "transfer-encoding", "content-length", "accept-encoding"),
    "x-amz-security-token",
}


@dataclass(frozen=True)
class Response:
    status: int
    headers: list = field(default_factory=list)
    body: bytes = b""

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name), None)


@dataclass(frozen=True)
class Request:
    service: str
    region: str
    method: str
    path: str  # as sent: percent-encoded, with the query
    headers: dict
    body: bytes = b""

    @classmethod
    def received(cls, method, path, headers, body):
        headers = {name.lower(): value for name, value in headers}
        service, region = _scope(headers, path)
        kept = {name: value for name, value in headers.items() if name not in FLEETING}
        return cls(service, region, method, TOKEN.sub("", path), kept, body)

    @property
    def query(self):
        return parse_qs(self.path.partition("?")[2], keep_blank_values=True)

    @property
    def plain_path(self):
        return unquote(self.path.partition("?")[0])

    @property
    def access_key(self):
        found = ACCESS_KEY.search(self.headers.get("authorization", ""))
        return found[1] if found else "local"

    @property
    def is_query(self):
        form = self.headers.get("content-type", "").startswith(FORM)
        return form and "x-amz-target" not in self.headers

    @property
    def action(self):
        """The operation's name where the protocol carries one (JSON, query, RPC), else None."""
        if target := self.headers.get("x-amz-target"):
            return target.rpartition(".")[2]
        if "/operation/" in self.path:
            return self.path.rpartition("/")[2]
        if self.is_query:
            return parse_qs(self.body.decode("utf-8", "replace")).get("Action", [None])[0]
        return None

    def environ(self):
        """A WSGI environment that says the same, for an application in this process."""
        path, _, query = self.path.partition("?")
        environ = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": self.path,
            "HTTP_HOST": "127.0.0.1",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(self.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        spelled = {}
        for name, value in self.headers.items():
            key = name.upper().replace("-", "_")
            key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
            environ[key] = value
            if "_" in name:
                spelled[key] = name
        # moto's own convention: WSGI cannot tell x_y from x-y, S3 metadata can.
        return environ | {"moto.preserved_header_names": spelled}


def _scope(headers, path):
    """(service, region) that the client signed for; a bare request can only be for S3."""
    signed = headers.get("authorization") or "Credential=" + unquote(
        "".join(parse_qs(path.partition("?")[2]).get("X-Amz-Credential", []))
    )
    found = SCOPE.search(signed)
    return (found[2].lower(), found[1]) if found else ("s3", "us-east-1")


def session_token(path, headers):
    """The session token of a signed request or a presigned URL, empty where there is none."""
    if token := headers.get("x-amz-security-token"):
        return token
    query = parse_qs(path.partition("?")[2])
    return next((v[0] for k, v in query.items() if k.lower() == "x-amz-security-token"), "")


def run(application, request):
    """What a WSGI application answers."""
    started = []
    chunks = application(
        request.environ(), lambda status, headers, _=None: started.append((status, headers))
    )
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    status, headers = started[-1]
    return Response(int(status.split()[0]), headers, body)
