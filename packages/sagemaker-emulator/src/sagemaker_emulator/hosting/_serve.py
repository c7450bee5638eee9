"""The process of one worker: the scikit-learn container's server around the model's own script.

A connected socket brings HTTP requests: GET /ping and POST /invocations. What the script prints
goes to the endpoint's log, with the worker's name before each line. Answers are those of the
container (sagemaker-containers and sagemaker-scikit-learn-container): the functions that a script
may have, the defaults for those that it lacks, and 415, 406 and 500 where they fail. One thing is
stricter: NPY is refused, because reading it may run code.
"""

import _thread
import asyncio
import importlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import traceback
from collections.abc import Callable
from socket import socket
from types import ModuleType
from typing import Any, NamedTuple

from sagemaker_emulator.api.http import Connection

JSON, CSV = "application/json", "text/csv"
HTML = (("Content-Type", "text/html; charset=utf-8"),)
SERVER_ERROR = b"""<!doctype html>
<html lang=en>
<title>500 Internal Server Error</title>
<h1>Internal Server Error</h1>
<p>The server encountered an internal error and was unable to complete your request. Either the \
server is overloaded or there is an error in the application.</p>
"""


class Answer(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Unsupported(Exception):
    """A format that the container's own functions cannot read or write."""


class Lines(io.TextIOBase):
    """Standard output and error: whole lines, with the worker's name before each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unfinished: list[str] = []  # parts of a line that has no end yet

    def write(self, text: str) -> int:
        if text:
            self.unfinished.append(text)
        if "\n" in text:
            *lines, rest = "".join(self.unfinished).split("\n")
            self.unfinished = [rest] if rest else []
            whole = "".join(f"{self.name} {line}\n" for line in lines)
            os.write(1, whole.encode("utf-8", "backslashreplace"))
        return len(text)

    def end_line(self) -> None:
        if self.unfinished:
            self.write("\n")

    def fileno(self) -> int:
        return 1

    def writable(self) -> bool:
        return True


# The functions of a script, or the container's


def default_model_fn(folder: str) -> Any:
    raise NotImplementedError("Please provide a model_fn implementation.")


def default_input_fn(body: Any, content_type: str) -> Any:
    import numpy

    if content_type == JSON:
        return numpy.array(json.loads(body)).astype(numpy.float32)
    if content_type == CSV:
        import csv

        rows = list(csv.reader(io.StringIO(body), strict=True))
        return numpy.array(rows).squeeze().astype(numpy.float32)
    raise Unsupported(content_type)


def default_predict_fn(data: Any, model: Any) -> Any:
    return model.predict(data)


def default_output_fn(prediction: Any, accept: str) -> tuple[str, str]:
    import numpy

    if accept == JSON:
        text = json.dumps(prediction, default=lambda array: array.tolist())
    elif accept == CSV:
        array = numpy.array(prediction)
        rows = array.reshape(len(array), 1) if array.ndim == 1 else array
        text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    else:
        raise Unsupported(accept)
    return text, accept


class Model:
    """The functions of a script, and the model that its model_fn has loaded."""

    def __init__(self, module: ModuleType, folder: str) -> None:
        own: dict[str, Callable[..., Any] | None] = {
            name: getattr(module, name, None)
            for name in ("input_fn", "predict_fn", "output_fn", "transform_fn")
        }
        self.transform = own.pop("transform_fn")
        if self.transform and any(own.values()):
            raise TypeError("a script has transform_fn, or else input_fn, predict_fn, output_fn")
        self.read = own["input_fn"] or default_input_fn
        self.predict = own["predict_fn"] or default_predict_fn
        self.write = own["output_fn"] or default_output_fn
        self.parameters = getattr(module, "execution_parameters_fn", None)
        self.accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
        self.model = getattr(module, "model_fn", default_model_fn)(folder)

    def invoke(self, headers: dict[str, str], content: bytes) -> Any:
        """Answer a request in any of the forms that `as_answer` takes."""
        body: str | bytes = content
        content_type = headers.get("content-type") or JSON
        if content_type in (JSON, CSV):
            body = content.decode("utf-8", "replace")
        accept = headers.get("accept")
        if not accept or accept == "*/*":
            accept = self.accept
        if self.transform:
            return self.transform(self.model, body, content_type, accept)
        try:
            data = self.read(body, content_type)
        except Unsupported as error:
            return _unsupported(415, error)
        prediction = self.predict(data, self.model)
        try:
            return self.write(prediction, accept)
        except Unsupported as error:
            return _unsupported(406, error)


def _unsupported(status: int, error: Unsupported) -> Answer:
    message = {
        "error": "UnsupportedFormatError",
        "error-message": f"Content type {error} is not supported by this framework.",
    }
    return Answer(status, (("Content-Type", JSON),), json.dumps(message).encode())


# HTTP


class Handler:
    """Answer requests to the paths of a container; log errors of the model and answer 500."""

    def __init__(self, model: Model, output: Lines) -> None:
        self.model = model
        self.output = output

    def __call__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path = target.partition("?")[0]
        call: Callable[[], Any]
        if path == "/ping":
            allowed, call = "GET, HEAD", lambda: ("", JSON)
        elif path == "/invocations":
            allowed, call = "POST", lambda: self.model.invoke(headers, body)
        elif path == "/execution-parameters" and self.model.parameters:
            allowed, call = "GET", self.model.parameters
        else:
            return Answer(404)
        if method not in allowed.split(", "):
            return Answer(405, (("Allow", allowed),))
        try:
            return as_answer(call())
        except Exception:
            traceback.print_exc()
            return Answer(500, HTML, SERVER_ERROR)
        finally:
            self.output.end_line()


def as_answer(result: Any) -> Answer:
    """Return the answer for a script's result: (content, type), Flask Response, JSON or text."""
    if isinstance(result, Answer):
        return result
    if isinstance(result, tuple):
        content, kind = result
        return Answer(200, (("Content-Type", _media_type(kind)),), _bytes(content))
    if hasattr(result, "get_data") and hasattr(result, "status_code"):
        return Answer(result.status_code, tuple(result.headers.items()), result.get_data())
    if isinstance(result, dict | list):
        return Answer(200, (("Content-Type", JSON),), json.dumps(result).encode())
    return Answer(200, HTML, _bytes(result))


def _bytes(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    return b"".join(map(_bytes, content))


def _media_type(kind: str) -> str:
    """Return the value of Content-Type; as in Flask, text has a character set."""
    is_text = kind.startswith("text/") and "charset" not in kind
    return f"{kind}; charset=utf-8" if is_text else kind


# The process


def end_with_the_server(server: int) -> None:
    """End this process and all that it has started when the server's process has ended."""
    multiprocessing.connection.wait([server])
    os.killpg(0, signal.SIGKILL)


def load(folder: str, script: str) -> Model:
    sys.path.insert(0, os.path.dirname(script))
    return Model(importlib.import_module(os.path.basename(script).removesuffix(".py")), folder)


async def serve(connection: Connection, channel: socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: connection, channel)
    await loop.create_future()  # until `end_with_the_server`


def main(
    channel: socket,
    name: str,
    environment: dict[str, str],
    cwd: str,
    log: str,
    folder: str,
    script: str,
) -> None:
    """Give the fork a session, environment, folder and output of its own, and serve."""
    server = multiprocessing.parent_process()
    assert server is not None  # this is a child
    os.setsid()
    _thread.start_new_thread(end_with_the_server, (server.sentinel,))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    output = Lines(name)
    sys.stdout, sys.stderr = output, Lines(name)
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        handler = Handler(load(folder, script), output)
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    asyncio.run(serve(Connection(handler), channel))
