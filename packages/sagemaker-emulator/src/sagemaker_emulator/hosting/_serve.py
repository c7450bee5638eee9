"""The process of one worker: the scikit-learn container's server around the model's own script.

A connected socket brings HTTP requests: GET /ping and POST /invocations. What the script prints
goes to the endpoint's log, each line behind the worker's name. Answers are the container's
(sagemaker-containers and sagemaker-scikit-learn-container): which functions a script may have, what
takes the place of those that it lacks, and 415, 406 and 500 where they cannot do it. One thing is
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
from typing import NamedTuple

from sagemaker_emulator.api.http import Connection

JSON, CSV = "application/json", "text/csv"
OOPS = b"""<!doctype html>
<html lang=en>
<title>500 Internal Server Error</title>
<h1>Internal Server Error</h1>
<p>The server encountered an internal error and was unable to complete your request. Either the \
server is overloaded or there is an error in the application.</p>
"""


class Answer(NamedTuple):
    status: int
    headers: list = []
    body: bytes = b""


class Unsupported(Exception):
    """A format that the container's own functions cannot read or write."""


class Lines(io.TextIOBase):
    """Standard output and error: whole lines, each behind the worker's name."""

    def __init__(self, name):
        self.name = name
        self.rest = []  # of a line that has no end yet

    def write(self, text):
        if text:
            self.rest.append(text)
        if "\n" in text:
            *lines, rest = "".join(self.rest).split("\n")
            self.rest = [rest] if rest else []
            self._write("".join(f"{self.name} {line}\n" for line in lines))
        return len(text)

    def end(self):
        if self.rest:
            self.write("\n")

    def _write(self, text):
        os.write(1, text.encode("utf-8", "backslashreplace"))

    def fileno(self):
        return 1

    def writable(self):
        return True


# The functions of a script, or the container's


def default_model_fn(folder):
    raise NotImplementedError("Please provide a model_fn implementation.")


def default_input_fn(body, content_type):
    import numpy

    if content_type == JSON:
        return numpy.array(json.loads(body)).astype(numpy.float32)
    if content_type == CSV:
        import csv

        rows = list(csv.reader(io.StringIO(body), strict=True))
        return numpy.array(rows).squeeze().astype(numpy.float32)
    raise Unsupported(content_type)


def default_predict_fn(data, model):
    return model.predict(data)


def default_output_fn(prediction, accept):
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
    def __init__(self, module, folder):
        own = {
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

    def invoke(self, headers, body):
        content_type = headers.get("content-type") or JSON
        if content_type in (JSON, CSV):
            body = body.decode("utf-8", "replace")
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


def _unsupported(status, error):
    said = {
        "error": "UnsupportedFormatError",
        "error-message": f"Content type {error} is not supported by this framework.",
    }
    return Answer(status, [("Content-Type", JSON)], json.dumps(said).encode())


# HTTP


class Handler:
    def __init__(self, model):
        self.model = model

    def __call__(self, method, target, headers, body):
        path = target.partition("?")[0]
        if path == "/ping":
            allowed, call = ("GET", "HEAD"), lambda: ("", JSON)
        elif path == "/invocations":
            allowed, call = ("POST",), lambda: self.model.invoke(headers, body)
        elif path == "/execution-parameters" and self.model.parameters:
            allowed, call = ("GET",), self.model.parameters
        else:
            return Answer(404)
        if method not in allowed:
            return Answer(405, [("Allow", ", ".join(allowed))])
        try:
            return self.answer(call())
        except Exception:
            traceback.print_exc()
            return Answer(500, [("Content-Type", "text/html; charset=utf-8")], OOPS)
        finally:
            sys.stdout.end()

    def answer(self, result):
        """What a script may give: (content, media type), a Response of werkzeug or Flask, ..."""
        if isinstance(result, Answer):
            return result
        if isinstance(result, tuple):
            content, kind = result
            return Answer(200, [("Content-Type", _media_type(kind))], _bytes(content))
        if hasattr(result, "get_data") and hasattr(result, "status_code"):
            return Answer(result.status_code, list(result.headers.items()), result.get_data())
        if isinstance(result, dict | list):
            return Answer(200, [("Content-Type", JSON)], json.dumps(result).encode())
        return Answer(200, [("Content-Type", "text/html; charset=utf-8")], _bytes(result))


def _bytes(content):
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    return b"".join(map(_bytes, content))


def _media_type(kind):
    """As Flask does: text has a character set."""
    is_text = kind.startswith("text/") and "charset" not in kind
    return f"{kind}; charset=utf-8" if is_text else kind


# The process


def die_with_the_server():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os.killpg(0, signal.SIGKILL)


def load(folder, script):
    sys.path.insert(0, os.path.dirname(script))
    return Model(importlib.import_module(os.path.basename(script).removesuffix(".py")), folder)


async def serve(connection, channel):
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: connection, channel)
    await loop.create_future()


def main(channel, name, environment, cwd, log, folder, script):
    """All that a process of its own has, in a fork: a session, environment, folder and output."""
    os.setsid()
    _thread.start_new_thread(die_with_the_server, ())
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    sys.stdout, sys.stderr = Lines(name), Lines(name)
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        handler = Handler(load(folder, script))
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    asyncio.run(serve(Connection(handler), channel))
