"""An HTTP request and its response as plain values: received, passed on, recorded, repeated."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

SIGNED = "AWS4-HMAC-SHA256 Credential=local/20000101/{}/{}/aws4_request"
SCOPE = re.compile(r"Credential=[^/,=\s]{1,128}/\d{8}/([^/]{1,64})/([^/]{1,64})/aws4_request")
ACCESS_KEY = re.compile(r"Credential=([^/,=\s]{1,128})/")
TOKEN = re.compile(r"(?i)&?X-Amz-Security-Token=[^&]*")  # in the query of a presigned URL
FORM = "application/x-www-form-urlencoded"
# Headers of one connection or one signature, meaningless in a recorded request.
NOT_KEPT = {
    *("connection", "expect", "transfer-encoding", "content-length", "accept-encoding"),
    "x-amz-security-token",
}


@dataclass(frozen=True)
class Response:
    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of a header; `name` is in lower case."""
        return next((v for k, v in self.headers if k.lower() == name), None)


@dataclass(frozen=True)
class Request:
    service: str
    region: str
    method: str
    path: str  # as sent: percent-encoded, with the query
    headers: dict[str, str]  # names in lower case
    body: bytes = b""

    @classmethod
    def received(
        cls, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes
    ) -> "Request":
        """Return a client's request; service and region are those that it was signed for."""
        named = {name.lower(): value for name, value in headers}
        service, region = _scope(named, path)
        kept = {name: value for name, value in named.items() if name not in NOT_KEPT}
        return cls(service, region, method, TOKEN.sub("", path), kept, body)

    @classmethod
    def internal(
        cls,
        service: str,
        method: str,
        path: str,
        region: str = "us-east-1",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> "Request":
        """Return a request of the emulator itself to another service."""
        signed = {"authorization": SIGNED.format(region, service)} | dict(headers or {})
        return cls(service, region, method, path, signed, body)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.path.partition("?")[2], keep_blank_values=True)

    @property
    def plain_path(self) -> str:
        return unquote(self.path.partition("?")[0])

    @property
    def access_key(self) -> str:
        found = ACCESS_KEY.search(self.headers.get("authorization", ""))
        return found[1] if found else "local"

    @property
    def is_query(self) -> bool:
        """Whether it speaks AWS's query protocol, as IAM, STS and others do."""
        form = self.headers.get("content-type", "").startswith(FORM)
        return form and "x-amz-target" not in self.headers

    @property
    def action(self) -> str | None:
        """The operation's name where the protocol carries one (JSON, query, RPC), else None."""
        if target := self.headers.get("x-amz-target"):
            return target.rpartition(".")[2]
        if "/operation/" in self.path:
            return self.path.rpartition("/")[2]
        if self.is_query:
            return parse_qs(self.body.decode("utf-8", "replace")).get("Action", [None])[0]
        return None


def _scope(headers: Mapping[str, str], path: str) -> tuple[str, str]:
    """Return (service, region) that the client signed for; only S3 takes unsigned requests."""
    signed = headers.get("authorization") or "Credential=" + unquote(
        "".join(parse_qs(path.partition("?")[2]).get("X-Amz-Credential", []))
    )
    found = SCOPE.search(signed)
    return (found[2].lower(), found[1]) if found else ("s3", "us-east-1")


def session_token(path: str, headers: Mapping[str, str]) -> str:
    """Return the session token of a signed request or a presigned URL, "" if it has none."""
    if token := headers.get("x-amz-security-token"):
        return token
    query = parse_qs(path.partition("?")[2])
    return next((v[0] for k, v in query.items() if k.lower() == "x-amz-security-token"), "")
