"""The fleet of one variant: workers that share its requests.

    FleetHost   what the fleets of one server share, and the list of them
    Fleet       starts, resizes and stops its workers from any thread, and waits until that is done;
                hands requests to them on the event loop, the least busy one first, and replaces
                those that end

An instance of a variant is a worker, but there are never more workers than this machine has CPUs.
"""

import asyncio
import contextlib
import itertools
import math
import os
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sagemaker_emulator.errors import MAX_REASON, log_traceback
from sagemaker_emulator.hosting.container import Container, ContainerFolder, ServingError
from sagemaker_emulator.hosting.worker import (
    MODEL_SECONDS,
    QUICK_SECONDS,
    Answer,
    Call,
    Died,
    Outcome,
    Stopped,
    TimedOut,
    Unavailable,
    Worker,
    start_worker,
)
from sagemaker_emulator.jobs.kinds import JobError
from sagemaker_emulator.jobs.logs import last_words

MAX_QUEUED = 2000
RESTART_SECONDS = (0, 1, 2, 5, 10, 30)  # before each attempt to replace a worker
PING = b"GET /ping HTTP/1.1\r\nHost: model\r\n\r\n"


class FleetHost:
    """What the fleets of one server share, and the list of them.

    `read_object` gets bucket and key and returns None where there is no such object;
    `environment` gets a region and returns the variables that lead a script to this server.
    """

    def __init__(
        self,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        read_object: Callable[[str, str], bytes | None],
        environment: Callable[[str], dict[str, str]],
    ) -> None:
        self.folder = folder / "endpoints"
        self.logs = folder / "logs/Endpoints"
        self.loop = loop
        self.read_object = read_object
        self.environment = environment
        self.fleets: set[Fleet] = set()  # that have workers, or are about to
        self.logs.mkdir(parents=True, exist_ok=True)
        self._remove_folders()  # a server that was killed leaves them

    def start(self) -> None:
        self.loop.call_soon_threadsafe(self._sweep)

    def _sweep(self) -> None:
        for fleet in list(self.fleets):
            fleet.sweep(self.loop.time())
        self.loop.call_later(1, self._sweep)

    def kill(self) -> None:
        """End all workers now."""
        for fleet in list(self.fleets):
            fleet.kill()

    def close(self) -> None:
        self.kill()
        self._remove_folders()

    def _remove_folders(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_path(self, endpoint: str) -> Path:
        return self.logs / f"{endpoint}.log"


class Fleet:
    """The workers of one variant. With `lazy`, they start when the first request comes."""

    def __init__(
        self,
        host: FleetHost,
        region: str,
        endpoint: str,
        variant: str,
        container: Container,
        count: int = 0,
        lazy: bool = False,
    ) -> None:
        self.host = host
        self.loop = host.loop
        self.region = region
        self.endpoint = endpoint
        self.variant = variant
        self.container = container
        self.count = count  # of instances
        self.lazy = lazy
        self.folder = ContainerFolder(
            host.folder / uuid.uuid4().hex, variant, container, host.read_object
        )
        self.lock = threading.RLock()  # one start, resize or stop at a time
        self.workers: list[Worker] = []
        self.queue: deque[Call] = deque()
        self.stopping = self.starting = False
        self.unavailable: str | None = None  # why no worker could be started

    # From any thread

    def start(self, count: int | None = None) -> None:
        """Start the workers and wait until they answer; raise ServingError if one does not."""
        with self.lock, self._serving_errors():
            if self.stopping:
                return
            before, self.count = self.count, self.count if count is None else count
            self.host.fleets.add(self)
            try:
                self._adjust(self.folder.fill())
            except BaseException:
                self.count = before
                self._clear()
                raise
            self.lazy = False

    def resize(self, count: int) -> None:
        with self.lock, self._serving_errors():
            self.count = count
            if not self.lazy:
                self._adjust(self.folder.script())

    @contextlib.contextmanager
    def _serving_errors(self) -> Iterator[None]:
        """Raise errors of this machine and of the model's Environment as ServingError."""
        try:
            yield
        except (JobError, OSError, ValueError) as error:
            raise ServingError(f"{self.folder.primary} could not be started: {error}") from error

    def stop(self) -> None:
        """Stop the workers once they have answered, but wait no longer than MODEL_SECONDS."""
        with self.lock:
            self._on_loop(self._drain())
            self._clear()

    def kill(self) -> None:
        """End the workers now: the server ends."""
        self.stopping = True
        for worker in list(self.workers):
            worker.kill()

    def _clear(self) -> None:
        for worker in list(self.workers):
            self._remove(worker)
        self.host.fleets.discard(self)
        self.folder.remove()

    def _remove(self, worker: Worker) -> None:
        worker.leaving = True
        worker.kill()
        worker.process.join()
        with contextlib.suppress(ValueError):
            self.workers.remove(worker)

    def _on_loop(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def _adjust(self, script: Path) -> None:
        """Start or stop workers until there are as many as there should be."""
        wanted = min(self.count, os.cpu_count() or 1)
        started: list[Worker] = []
        try:
            for _ in range(wanted - len(self.workers)):
                started.append(self._start_worker(script))
            for worker in started:
                self._on_loop(self._add(worker))
        except BaseException:
            for worker in started:
                self._remove(worker)
            raise
        for worker in self.workers[wanted:]:
            self._on_loop(self._retire(worker))
            self._remove(worker)

    def _start_worker(self, script: Path) -> Worker:
        environment = self.folder.environment(self.host.environment(self.region))
        log, model = self.host.log_path(self.endpoint), self.folder.ml / "model"
        return start_worker(self.variant, environment, self.folder.root, log, model, script)

    def _replace(self, worker: Worker) -> None:
        """Bring the fleet back to its size after a worker has ended."""
        worker.process.join()
        with open(self.host.log_path(self.endpoint), "a") as log:
            code = worker.process.exitcode
            log.write(
                f"sagemaker_emulator: {worker.name} ended (exit code {code}), starting a new one\n"
            )
        for pause in itertools.chain(RESTART_SECONDS, itertools.repeat(RESTART_SECONDS[-1])):
            time.sleep(pause)
            with self.lock:
                if self.stopping:
                    return
                try:
                    return self.resize(self.count)
                except ServingError as error:
                    self._on_loop(self._fail_waiting(str(error)))

    def _start_lazily(self) -> None:
        try:
            self.start()
        except Exception as error:
            if not isinstance(error, ServingError):
                log_traceback(error)
            self._on_loop(self._fail_waiting(str(error)))
        self.starting = False

    # On the event loop

    @property
    def busy(self) -> int:
        """The number of requests that wait or are being answered."""
        return len(self.queue) + sum(len(worker.calls) for worker in self.workers)

    def send(
        self, request: bytes, done: Callable[[Outcome], None], seconds: float = MODEL_SECONDS
    ) -> None:
        """Call `done` with the model's answer, or with an exception of worker.py."""
        if self.stopping:
            return done(Stopped())
        if self.lazy and not self.starting:
            self.starting, self.unavailable = True, None
            threading.Thread(target=self._start_lazily, daemon=True).start()
        if self.unavailable:
            return done(Unavailable(self.unavailable))
        if len(self.queue) >= MAX_QUEUED:
            why = f"{MAX_QUEUED} requests wait for variant {self.variant} already"
            return done(Unavailable(why))
        now = self.loop.time()
        self.queue.append(Call(request, done, now + seconds))
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        while self.queue:
            free = [worker for worker in self.workers if not worker.leaving and worker.room > 0]
            if not free:
                return
            worker = min(free, key=lambda w: len(w.calls)) if len(free) > 1 else free[0]
            worker.send(self.queue.popleft(), now)

    def _answered(self, worker: Worker, answer: Answer) -> None:
        now = self.loop.time()
        call = worker.answered(now)
        if self.queue:
            self._dispatch(now)
        call.end(answer)

    def _lost(self, worker: Worker) -> None:
        """Remove a worker that has ended: fail its current request, give its others to the rest."""
        worker.channel.transport.abort()  # children of the model may hold the other end
        if worker.calls:
            worker.calls.popleft().end(Died())
        leaving, worker.leaving = worker.leaving, True
        while worker.calls:
            call = worker.calls.pop()
            if self.stopping:
                call.end(Stopped())
            elif call.done:
                self.queue.appendleft(call)
        self._dispatch(self.loop.time())
        if leaving:
            return
        self.workers.remove(worker)
        worker.kill()
        threading.Thread(target=self._replace, args=(worker,), daemon=True).start()

    def sweep(self, now: float) -> None:
        """Time out late requests and give up the workers that have them; called every second."""
        for worker in list(self.workers):
            late = [call for call in worker.calls if call.deadline < now]
            for call in late:
                call.end(TimedOut())
            if not worker.leaving and (late or not worker.process.is_alive()):
                self._lost(worker)
        while self.queue and self.queue[0].deadline < now:
            self.queue.popleft().end(TimedOut())

    async def _add(self, worker: Worker) -> None:
        """Connect a worker and wait until its model is loaded; raise ServingError if that fails."""
        await worker.connect(self.loop, self._answered, self._lost)
        ready: asyncio.Future[Outcome] = self.loop.create_future()
        worker.send(Call(PING, partial(_fulfil, ready), math.inf), self.loop.time())
        answer: Outcome | None = None
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            answer = await asyncio.wait_for(ready, self.container.startup_seconds)
        if not isinstance(answer, tuple) or answer[0] != 200:
            worker.kill()
            raise ServingError(await self.loop.run_in_executor(None, self._failure, worker))
        worker.leaving, worker.request_seconds = False, QUICK_SECONDS
        self.workers.append(worker)
        self.unavailable = None
        self._dispatch(self.loop.time())

    def _failure(self, worker: Worker) -> str:
        """Return why a worker did not start: the last words of its log."""
        worker.process.join()
        start = f"{worker.name} "
        log = self.host.log_path(self.endpoint).read_text(errors="replace").splitlines()
        logged = "\n".join(line[len(start) :] for line in log if line.startswith(start))
        last = last_words(logged).replace(str(self.folder.ml), "/opt/ml")
        return (
            f"{self.folder.primary} did not pass the ping health check. Please check CloudWatch"
            f" logs for this endpoint: {last or f'exit code {worker.process.exitcode}'}"
        )[:MAX_REASON]

    async def _fail_waiting(self, why: str) -> None:
        """Fail the requests that wait, unless there is still a worker for them."""
        if not self.workers:
            self.unavailable = why
            while self.queue:
                self.queue.popleft().end(Unavailable(why))

    async def _retire(self, worker: Worker) -> None:
        worker.leaving = True
        await self._wait(lambda: not worker.calls)

    async def _drain(self) -> None:
        self.stopping = True
        if self.workers:
            await self._wait(lambda: not self.busy)
        while self.queue:
            self.queue.popleft().end(Stopped())
        for worker in self.workers:
            worker.leaving = True

    async def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, at most as long as a model may take for an answer."""
        deadline = self.loop.time() + MODEL_SECONDS
        while not condition() and self.loop.time() < deadline:
            await asyncio.sleep(0.01)


def _fulfil(future: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
