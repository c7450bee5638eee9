"""The workers of one variant: processes that hold the model and answer one request after another.

    Fleet    starts, resizes and stops them from any thread, and waits until it is so; hands
             requests to them on the event loop, the least busy first, and makes dead ones anew
    Worker   one process (_serve.py) and the connected sockets to it: no address, nobody else's

An instance of a variant is a worker, and there are never more of them than this machine has CPUs.
Workers are forks of one process that has loaded what nearly every model needs (_libraries.py), so
it takes a moment to start one and not seconds.
"""

import asyncio
import contextlib
import gzip
import io
import itertools
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tarfile
import threading
import time
import traceback
import uuid
import zlib
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sagemaker_emulator import client
from sagemaker_emulator.api.http_client import Channel
from sagemaker_emulator.hosting import _serve
from sagemaker_emulator.jobs.container import PASSED_ON, relocate
from sagemaker_emulator.jobs.kinds import JobError
from sagemaker_emulator.jobs.logs import last_words
from sagemaker_emulator.jobs.s3_files import bucket_and_key

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["sagemaker_emulator.hosting._libraries", "sagemaker_emulator.hosting._serve"]
)
QUICK_SECONDS = 0.002  # a model that answers sooner gets requests ahead, not to wait for the next
AHEAD = 16
MAX_QUEUED = 2000
MODEL_SECONDS = 60  # AWS's limit for an answer; also how long a fleet waits for its last ones
RESTART_SECONDS = (0, 1, 2, 5, 10, 30)
MAX_MEMBERS = 10_000
MAX_UNPACKED = 10 * 2**30
PING = b"GET /ping HTTP/1.1\r\nHost: model\r\n\r\n"


class ServingError(Exception):
    """Why a variant cannot serve, in the words of an endpoint's FailureReason."""


class Stopped(Exception):
    """The fleet takes no more requests: the endpoint has another one."""


class Unavailable(Exception):
    """The fleet cannot take the request now."""


class Died(Exception):
    """The worker that had the request is gone."""


class TimedOut(Exception):
    pass


@dataclass(frozen=True)
class Container:
    """What one variant runs."""

    image: str
    model_data_url: str
    environment: dict
    startup_seconds: float = 120  # until it must have answered /ping


@dataclass
class Call:
    request: bytes
    then: object
    deadline: float

    def end(self, outcome):
        then, self.then = self.then, None
        if then:
            then(outcome)


class Worker:
    def __init__(self, name, process, connection):
        self.name = name
        self.process = process
        self.connection = connection
        self.channel = None
        self.calls = deque()  # sent, in their order
        self.began = 0.0  # when the first of them came first
        self.took = QUICK_SECONDS  # for a request, on average
        self.leaving = True  # from the fleet, or not yet one of it

    @property
    def room(self):
        """How many more requests it should have; a slow model's wait here, where others go on."""
        return (AHEAD if self.took < QUICK_SECONDS else 1) - len(self.calls)

    def send(self, call, now):
        if not self.calls:
            self.began = now
        self.channel.send(call.request, at_once=not self.calls)
        self.calls.append(call)

    def answered(self, now):
        self.took += (now - self.began - self.took) / 8
        self.began = now
        return self.calls.popleft()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # it may not lead its group yet


class Fleet:
    def __init__(
        self, sagemaker, endpoint_name, variant_name, container, lazy=False, region=client.REGION
    ):
        self.sagemaker = sagemaker
        self.runtime = sagemaker.runtime
        self.endpoint = endpoint_name
        self.variant = variant_name
        self.container = container
        self.region = region
        self.count = int(lazy)
        self.lazy = bool(lazy)  # so many workers as `lazy` says, once the first request comes
        self.folder = sagemaker.folder / "endpoints" / uuid.uuid4().hex
        self.lock = threading.RLock()  # one start, resize or stop at a time
        self.workers = []
        self.queue = deque()
        self.stopping = self.starting = False
        self.unavailable = None  # why there is no worker, where there should be one

    # From any thread

    def start(self, count=None):
        with self.lock, self._told():
            if self.stopping:
                return
            before, self.count = self.count, self.count if count is None else count
            self.runtime.fleets.add(self)
            try:
                script = self._unpack()
                self._adjust(script)
            except BaseException:
                self.count = before
                self._clear()
                raise
            self.lazy = False

    def resize(self, count):
        with self.lock, self._told():
            self.count = count
            if not self.lazy:
                self._adjust(self._script())

    @contextlib.contextmanager
    def _told(self):
        """What this machine or the model's Environment does not allow is the model's failure."""
        try:
            yield
        except (JobError, OSError, ValueError) as error:
            raise ServingError(f"{self._primary} could not be started: {error}") from error

    def stop(self):
        with self.lock:
            self._on_loop(self._drain())
            self._clear()

    def _clear(self):
        for worker in list(self.workers):
            self._remove(worker)
        self.runtime.fleets.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self):
        """End the processes now: the server ends."""
        self.stopping = True
        for worker in list(self.workers):
            worker.kill()

    def _on_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.runtime.loop).result()

    def _adjust(self, script):
        """As many workers as there should be."""
        wanted = min(self.count, os.cpu_count() or 1)
        started = []
        try:
            for _ in range(wanted - len(self.workers)):
                started.append(self._spawn(script))
            for worker in started:
                self._on_loop(self._enlist(worker))
        except BaseException:
            for worker in started:
                self._remove(worker)
            raise
        for worker in self.workers[wanted:]:
            self._on_loop(self._retire(worker))
            self._remove(worker)

    # The model's files

    def _unpack(self):
        """The folder as the container's /opt/ml; gives the path of the model's script."""
        shutil.rmtree(self.folder, ignore_errors=True)
        ml, environment = self.folder / "opt/ml", self.container.environment
        (self.folder / "tmp").mkdir(parents=True)
        self._extract(self.container.model_data_url, ml / "model")
        submitted = environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        if submitted.startswith("s3://"):
            self._extract(submitted, ml / "code")
        script = self._script()
        if not script.is_file():
            place = str(script).replace(str(ml), "/opt/ml")
            raise ServingError(
                f"{self._primary} has no script {place}: it is where SAGEMAKER_SUBMIT_DIRECTORY and"
                f" SAGEMAKER_PROGRAM of the model's Environment point; model.tar.gz usually has it"
                f" as code/inference.py, and they are /opt/ml/model/code and inference.py."
            )
        return script

    @property
    def _primary(self):
        return f"The primary container for production variant {self.variant}"

    def _script(self):
        ml, environment = self.folder / "opt/ml", self.container.environment
        program = environment.get("SAGEMAKER_PROGRAM")
        if not program:
            raise ServingError(
                f"{self._primary} does not know its script: set SAGEMAKER_PROGRAM (inference.py)"
                " and SAGEMAKER_SUBMIT_DIRECTORY (/opt/ml/model/code) in the model's Environment."
            )
        submitted = environment.get("SAGEMAKER_SUBMIT_DIRECTORY") or "/opt/ml/code"
        submitted = "/opt/ml/code" if submitted.startswith("s3://") else submitted
        return Path(relocate(submitted, ml)) / program

    def _extract(self, uri, folder):
        """An archive may only say what lies below its own folder, and not too much of it."""
        bucket, key = bucket_and_key(uri)
        body = self.sagemaker.neighbours.read_object(bucket, key)
        if body is None:
            raise ServingError(
                f'Failed to download model data for {self._where} from URL: "{uri}". Please ensure'
                " that there is an object located at the URL."
            )
        folder.mkdir(parents=True)
        try:
            with (
                gzip.GzipFile(fileobj=io.BytesIO(body)) as unzipped,
                tarfile.open(fileobj=unzipped, mode="r|") as archive,
            ):
                members = 0
                for member in self._checked(archive, uri):
                    archive.extract(member, folder, filter="data")
                    members += 1
                while unzipped.read(2**20):  # to its end, where its checksum is
                    pass
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
            raise self._spoilt(uri, str(error) or "it is cut off") from None
        if not members:
            raise self._spoilt(uri, "it is empty")

    @property
    def _where(self):
        return f"production variant {self.variant}"

    def _spoilt(self, uri, why):
        return ServingError(
            f'Failed to extract model data archive for {self._where} from URL "{uri}": {why}.'
            " The model data must be a gzipped tar file of plain files."
        )

    def _checked(self, archive, uri):
        size = 0
        for number, member in enumerate(archive):
            size += member.size
            name = member.name
            if name.startswith("/") or ".." in Path(name).parts:
                raise self._spoilt(uri, f"'{name}' leads out of its folder")
            if not member.isfile() and not member.isdir():
                raise self._spoilt(uri, f"'{name}' is a link or a device")
            if number >= MAX_MEMBERS or size > MAX_UNPACKED:
                raise self._spoilt(uri, "it has too many files, or unpacks to too much")
            yield member

    # Processes

    def _spawn(self, script):
        name = f"{self.variant}/i-{uuid.uuid4().hex[:8]}"  # as an instance's log stream is named
        ml = self.folder / "opt/ml"
        ours, theirs = socket.socketpair()
        log = self.runtime.log_path(self.endpoint)
        log.touch()
        where = (self.folder, log, ml / "model", script)
        with theirs:
            arguments = (theirs, name, self._environment(ml), *map(str, where))
            process = FORKS.Process(target=_serve.main, args=arguments, daemon=True)
            process.start()
        return Worker(name, process, ours)

    def _environment(self, ml):
        environment = {k: v for k, v in os.environ.items() if PASSED_ON.fullmatch(k)}
        environment |= client.environment(
            self.sagemaker.jobs.url, self.region, self.sagemaker.secret
        )
        path = os.pathsep.join([os.path.dirname(sys.executable), environment.get("PATH", "")])
        # One request at a time: more threads than this would only get in each other's way.
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PATH": path}
        environment |= {"SM_MODEL_DIR": str(ml / "model"), "TMPDIR": str(self.folder / "tmp")}
        given = self.container.environment.items()
        return environment | {name: relocate(value, ml) for name, value in given}

    def _remove(self, worker):
        worker.leaving = True
        worker.kill()
        worker.process.join()
        with contextlib.suppress(ValueError):
            self.workers.remove(worker)

    async def _enlist(self, worker):
        """Connect, and wait until the model is loaded."""
        loop = asyncio.get_running_loop()
        _, worker.channel = await loop.connect_accepted_socket(
            lambda: Channel(partial(self._answered, worker), partial(self._lost, worker)),
            worker.connection,
        )
        ready = loop.create_future()
        worker.send(Call(PING, partial(_fulfil, ready), math.inf), loop.time())
        try:
            answer = await asyncio.wait_for(ready, self.container.startup_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            answer = None
        if not isinstance(answer, tuple) or answer[0] != 200:
            worker.kill()
            raise ServingError(await loop.run_in_executor(None, self._why, worker))
        worker.leaving, worker.took = False, QUICK_SECONDS
        self.workers.append(worker)
        self.unavailable = None
        self._go_on(loop.time())

    def _why(self, worker):
        """What a worker that did not come up said last."""
        worker.process.join()
        start = f"{worker.name} "
        log = self.runtime.log_path(self.endpoint).read_text(errors="replace").splitlines()
        said = "\n".join(line[len(start) :] for line in log if line.startswith(start))
        last = last_words(said).replace(str(self.folder / "opt/ml"), "/opt/ml")
        return (
            f"{self._primary} did not pass the ping health check. Please check CloudWatch logs for"
            f" this endpoint: {last or f'exit code {worker.process.exitcode}'}"
        )[:1024]

    # On the event loop

    @property
    def busy(self):
        return len(self.queue) + sum(len(worker.calls) for worker in self.workers)

    def send(self, request, then, seconds=MODEL_SECONDS):
        """`then` gets (status, headers, body), or one of the exceptions above."""
        if self.stopping:
            return then(Stopped())
        if self.lazy and not self.starting:
            self.starting, self.unavailable = True, None
            threading.Thread(target=self._start_late, daemon=True).start()
        if self.unavailable:
            return then(Unavailable(self.unavailable))
        if len(self.queue) >= MAX_QUEUED:
            why = f"{MAX_QUEUED} requests wait for variant {self.variant} already"
            return then(Unavailable(why))
        now = self.runtime.loop.time()
        self.queue.append(Call(request, then, now + seconds))
        self._go_on(now)

    def _go_on(self, now):
        while self.queue:
            free = [worker for worker in self.workers if not worker.leaving and worker.room > 0]
            if not free:
                return
            worker = min(free, key=lambda w: len(w.calls)) if len(free) > 1 else free[0]
            worker.send(self.queue.popleft(), now)

    def _answered(self, worker, answer):
        now = self.runtime.loop.time()
        call = worker.answered(now)
        if self.queue:
            self._go_on(now)
        call.end(answer)

    def _lost(self, worker):
        """A worker has ended with what it was about; what was sent ahead goes to another one."""
        worker.channel.transport.abort()  # what the model has forked may hold the other end
        if worker.calls:
            worker.calls.popleft().end(Died())
        leaving, worker.leaving = worker.leaving, True
        while worker.calls:
            call = worker.calls.pop()
            if self.stopping:
                call.end(Stopped())
            elif call.then:
                self.queue.appendleft(call)
        self._go_on(self.runtime.loop.time())
        if leaving:
            return
        self.workers.remove(worker)
        worker.kill()
        threading.Thread(target=self._replace, args=(worker,), daemon=True).start()

    def _replace(self, worker):
        worker.process.join()
        code = worker.process.exitcode
        self.runtime.note(self.endpoint, f"{worker.name} ended (exit code {code}), starting anew")
        for pause in itertools.chain(RESTART_SECONDS, itertools.repeat(RESTART_SECONDS[-1])):
            time.sleep(pause)
            with self.lock:
                if self.stopping:
                    return
                try:
                    return self.resize(self.count)
                except ServingError as error:
                    self._on_loop(self._give_up(str(error)))

    def _start_late(self):
        try:
            self.start()
        except Exception as error:
            if not isinstance(error, ServingError):
                traceback.print_exc()
            self._on_loop(self._give_up(str(error)))
        self.starting = False

    async def _give_up(self, why):
        if not self.workers:
            self.unavailable = why
            while self.queue:
                self.queue.popleft().end(Unavailable(why))

    def sweep(self, now):
        """Called every now and then: what takes too long is given up, and so is its worker."""
        for worker in list(self.workers):
            late = [call for call in worker.calls if call.deadline < now]
            for call in late:
                call.end(TimedOut())
            if not worker.leaving and (late or not worker.process.is_alive()):
                self._lost(worker)
        while self.queue and self.queue[0].deadline < now:
            self.queue.popleft().end(TimedOut())

    async def _retire(self, worker):
        worker.leaving = True
        await self._wait(lambda: not worker.calls)

    async def _drain(self):
        self.stopping = True
        if self.workers:
            await self._wait(lambda: not self.busy)
        while self.queue:
            self.queue.popleft().end(Stopped())
        for worker in self.workers:
            worker.leaving = True

    async def _wait(self, condition):
        deadline = self.runtime.loop.time() + MODEL_SECONDS
        while not condition() and self.runtime.loop.time() < deadline:
            await asyncio.sleep(0.01)


def _fulfil(future, outcome):
    if not future.done():
        future.set_result(outcome)
