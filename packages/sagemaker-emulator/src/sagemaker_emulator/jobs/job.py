"""Runs a job: its folder, its child process, its time limit, and how it is stopped."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from sagemaker_emulator import client
from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.api.resources import Kind, region_of
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import BROKE, MAX_REASON
from sagemaker_emulator.jobs import s3_files
from sagemaker_emulator.jobs.container import host_environment
from sagemaker_emulator.jobs.kinds import (
    DEFAULT_MAX_SECONDS,
    PROCESSING,
    TRAINING,
    JobError,
    prefix_of,
)
from sagemaker_emulator.jobs.logs import Logs
from sagemaker_emulator.jobs.outcome import (
    MAX_RUNTIME_EXCEEDED,
    STOPPED,
    Outcome,
    failure,
    outcome,
)
from sagemaker_emulator.jobs.plan import Plan, processing_plan
from sagemaker_emulator.jobs.training import training_plan

CHILD = str(Path(__file__).with_name("_job.py"))
STOP_GRACE_SECONDS = 5  # AWS: 120
FOLDERS = ("model", "code", "input/config", "input/data", "output/data")
PLANS = {PROCESSING.name: processing_plan, TRAINING.name: training_plan}


def call_later(seconds: float, function: Callable[[], None]) -> Callable[[], None]:
    """Call a function on a timer's thread; return a function that cancels the call."""
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
    return timer.cancel


class Jobs:
    """The running jobs. `url` must be set before the first one starts."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        s3: s3_files.S3,
        secret: str,
    ) -> None:
        self.folder = folder / "jobs"
        self.store = store
        self.s3 = s3
        self.secret = secret
        self.call_later = call_later  # tests replace it
        self.url = ""
        self.logs = Logs(folder / "logs", store)
        self.running: dict[str, Job] = {}
        # Every child holds the reading end. The writing end is this process's alone and is never
        # written to, so a child that reads the end of the file knows that the server is gone.
        self.lifeline, self.writing_end = os.pipe()
        self.tidy()  # a killed server may leave some

    def start(self, kind: Kind, document: Document) -> "Job":
        job = Job(self, kind, document)
        job.log_path.write_text(
            f"sagemaker_emulator: {kind.name} {job.name}, one process on this machine;"
            f" no container, the image {_image(document)} is not pulled\n"
        )
        self.running[job.arn] = job
        job.thread.start()
        return job

    def tidy(self) -> None:
        """Remove the folders of all jobs."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End every job now, without waiting for a lock."""
        for job in list(self.running.values()):
            job.signal(signal.SIGKILL)


class Job:
    def __init__(self, jobs: Jobs, kind: Kind, document: Document) -> None:
        self.jobs = jobs
        self.kind = kind
        self.arn: str = document[f"{kind.name}Arn"]
        self.name: str = document[f"{kind.name}Name"]
        self.document = document
        self.log_path = jobs.logs.path(kind, self.name)
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped: str | None = None  # why it is being stopped
        self.ended = False
        self.lock = threading.RLock()  # of the three above, and of the status in the store
        self.transitions: list[Json] = []
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def wait(self) -> Document:
        """Wait for the end of the job and return its document."""
        self.thread.join()
        document = self.jobs.store.get(self.arn)
        assert document is not None  # only a job that does not run can be deleted
        return document

    def stop(self, why: str = STOPPED) -> None:
        """Ask all processes of the job to end, and kill them STOP_GRACE_SECONDS later."""
        with self.lock:
            if self.ended:
                return
            self.stopped = self.stopped or why
            self._update("Stopping", "Stopping")
            self.signal(signal.SIGTERM)
        self.jobs.call_later(STOP_GRACE_SECONDS, lambda: self.signal(signal.SIGKILL))

    def signal(self, number: int) -> None:
        if self.process and self.process.returncode is None:
            _signal_group(self.process, number)

    # On the job's own thread

    def _run(self) -> None:
        folder = self.jobs.folder / f"{self.kind.resource}-{self.name}"
        try:
            end = self._execute(folder)
        except JobError as error:
            end = failure(str(error))
        except Exception:
            traceback.print_exc()
            end = failure(BROKE)
        if end.reason:
            with contextlib.suppress(OSError), open(self.log_path, "a") as log:
                log.write(f"sagemaker_emulator: {end.reason}\n")
        # Before the final status is written: a client that reads it finds the folder gone.
        shutil.rmtree(folder, ignore_errors=True)
        with self.lock, self.jobs.store.lock:
            self.jobs.running.pop(self.arn)
            self.ended = True
            members: Document = {f"{prefix_of(self.kind)}EndTime": time.time()} | end.members
            if end.reason:
                members["FailureReason"] = end.reason[:MAX_REASON]
            self._update(end.status, end.secondary_status, **members)

    def _execute(self, folder: Path) -> Outcome:
        """Download, run, upload; return how the job ended."""
        ml, prefix = folder / "opt/ml", prefix_of(self.kind)
        plan = PLANS[self.kind.name](self.document, ml)
        self._update("InProgress", "Downloading")
        self._prepare(plan, ml)
        self._update("InProgress", "Training", **{f"{prefix}StartTime": time.time()})
        exit_code = self._run_command(plan, folder)
        ended = time.time()
        self._update("InProgress", "Uploading")
        self._upload(plan, exit_code)
        log = self.log_path.read_text(errors="replace")
        return outcome(self.kind, self.document, ml, log, exit_code, self.stopped, ended)

    def _prepare(self, plan: Plan, ml: Path) -> None:
        for name in FOLDERS:
            (ml / name).mkdir(parents=True, exist_ok=True)
        for path, content in plan.config.items():
            (ml / path).parent.mkdir(exist_ok=True)
            (ml / path).write_text(json.dumps(content))
        for source in plan.inputs:
            s3_files.download(self.jobs.s3, source.uri, source.folder)
        for target in plan.outputs:
            target.folder.mkdir(parents=True, exist_ok=True)
        if plan.source:
            s3_files.unpack(self.jobs.s3, plan.source, ml / "code")

    def _upload(self, plan: Plan, exit_code: int) -> None:
        if exit_code == 0 and not self.stopped:
            for target in plan.outputs:
                s3_files.upload(self.jobs.s3, target.folder, target.uri)
        for archive in plan.archives:
            if exit_code == 0 or self.stopped or archive.after_failure:
                s3_files.upload_archive(self.jobs.s3, archive.folder, archive.uri)

    def _run_command(self, plan: Plan, folder: Path) -> int:
        """Run the plan's command, end what it left running, and return its exit code."""
        environment = self._environment(folder) | plan.environment
        with open(self.log_path, "ab") as log:
            with self.lock:
                if self.stopped:
                    return 0
                process = self.process = subprocess.Popen(
                    [sys.executable, CHILD, str(self.jobs.lifeline), *plan.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=plan.work_folder,
                    env=environment,
                    pass_fds=[self.jobs.lifeline],
                    start_new_session=True,
                )
            limit = self.document["StoppingCondition"].get("MaxRuntimeInSeconds")
            cancel = self.jobs.call_later(
                limit or DEFAULT_MAX_SECONDS, lambda: self.stop(MAX_RUNTIME_EXCEEDED)
            )
            exit_code = process.wait()
            cancel()
        _signal_group(process, signal.SIGKILL)
        return exit_code

    def _environment(self, folder: Path) -> dict[str, str]:
        environment = host_environment()
        environment |= client.environment(self.jobs.url, region_of(self.arn), self.jobs.secret)
        temporary = folder / "tmp"  # goes with the job's folder, however the job ends
        temporary.mkdir(exist_ok=True)
        return environment | {
            "PYTHONUNBUFFERED": "1",
            f"{prefix_of(self.kind).upper()}_JOB_ARN": self.arn,
            # Jobs share this machine: OpenMP threads of two that spin while they wait stop both.
            "OMP_WAIT_POLICY": "PASSIVE",
            "TMPDIR": str(temporary),
        }

    # The status in the store

    def _update(self, status: str, secondary_status: str, **members: Json) -> None:
        with self.lock:
            now = time.time()
            if self.stopped and status == "InProgress":
                status = "Stopping"
            members |= {"LastModifiedTime": now, f"{self.kind.name}Status": status}
            if self.kind is TRAINING:
                members |= self._transition(secondary_status, now)
            self.jobs.store.update(self.arn, **members)

    def _transition(self, secondary_status: str, now: float) -> Document:
        if self.transitions:
            self.transitions[-1]["EndTime"] = now
        last = {"Status": secondary_status, "StartTime": now, "StatusMessage": secondary_status}
        self.transitions.append(last)
        return {
            "SecondaryStatus": secondary_status,
            "SecondaryStatusTransitions": self.transitions,
        }


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _image(document: Document) -> str:
    specification = document.get("AppSpecification") or document["AlgorithmSpecification"]
    image: str = specification.get("ImageUri") or specification["TrainingImage"]
    return image
