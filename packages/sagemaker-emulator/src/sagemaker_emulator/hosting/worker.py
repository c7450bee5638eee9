"""A worker: one process (_serve.py) that holds the model and answers one request after another.

It is reached through a connected pair of sockets, so it has no address that others could use.
Workers are forks of one process that has loaded what nearly every model needs (_libraries.py):
starting one takes a moment instead of seconds.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeAlias

from sagemaker_emulator.api.http_client import Channel, WholeResponse
from sagemaker_emulator.hosting import _serve

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["sagemaker_emulator.hosting._libraries", "sagemaker_emulator.hosting._serve"]
)
QUICK_SECONDS = 0.002  # a model that answers sooner is sent the next requests ahead
AHEAD = 16
MODEL_SECONDS = 60  # AWS's limit for an answer

Answer: TypeAlias = WholeResponse  # of the model
Outcome: TypeAlias = Answer | Exception  # one of the exceptions below


class Stopped(Exception):
    """The fleet takes no more requests: the endpoint has another one."""


class Unavailable(Exception):
    """The fleet cannot take the request now."""


class Died(Exception):
    """The worker that had the request is gone."""


class TimedOut(Exception):
    """The model did not answer in time."""


@dataclass
class Call:
    """A request to the model, and what is called once with its outcome."""

    request: bytes
    done: Callable[[Outcome], None] | None
    deadline: float  # on the loop's clock

    def end(self, outcome: Outcome) -> None:
        done, self.done = self.done, None
        if done:
            done(outcome)


class Worker:
    """A process as its fleet sees it: the requests that it was sent, and how long it takes."""

    channel: Channel  # once `connect` has been awaited

    def __init__(self, name: str, process: ForkServerProcess, connection: socket.socket) -> None:
        self.name = name
        self.process = process
        self.connection = connection
        self.calls: deque[Call] = deque()  # sent and unanswered, oldest first
        self.began = 0.0  # when the worker began the first of them
        self.request_seconds = QUICK_SECONDS  # on average
        self.leaving = True  # takes no requests: not yet part of its fleet, or no longer

    async def connect(
        self,
        loop: asyncio.AbstractEventLoop,
        answered: Callable[["Worker", Answer], None],
        lost: Callable[["Worker"], None],
    ) -> None:
        _, self.channel = await loop.connect_accepted_socket(
            lambda: Channel(partial(answered, self), partial(lost, self)), self.connection
        )

    @property
    def room(self) -> int:
        """The number of requests that may be sent to it now.

        A slow model gets one at a time: the next ones wait where another worker may take them.
        """
        return (AHEAD if self.request_seconds < QUICK_SECONDS else 1) - len(self.calls)

    def send(self, call: Call, now: float) -> None:
        if not self.calls:
            self.began = now
        self.channel.send(call.request, at_once=not self.calls)
        self.calls.append(call)

    def answered(self, now: float) -> Call:
        """Remove and return the call that an answer is for."""
        self.request_seconds += (now - self.began - self.request_seconds) / 8
        self.began = now
        return self.calls.popleft()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process.pid is not None:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # it may not lead a group yet


def start_worker(
    variant: str, environment: dict[str, str], cwd: Path, log: Path, model: Path, script: Path
) -> Worker:
    """Fork a process that loads the model and then serves; see `Worker.connect`."""
    name = f"{variant}/i-{uuid.uuid4().hex[:8]}"  # like an instance's log stream
    log.touch()
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = (theirs, name, environment, str(cwd), str(log), str(model), str(script))
        process = FORKS.Process(target=_serve.main, args=arguments, daemon=True)
        process.start()
    return Worker(name, process, ours)
