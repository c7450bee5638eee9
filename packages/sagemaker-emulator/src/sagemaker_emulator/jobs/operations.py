"""Processing and training jobs: the /opt/ml contract around one child process.

A job's folder is laid out as its container's /opt/ml would be, the inputs come from S3, the script
runs (see _job.py), what it leaves behind goes back to S3, and the folder is removed. There is no
container, so `/opt/ml` in an entrypoint, an argument or an environment value is rewritten to that
folder. A job is one process on one machine: more than one instance is refused, not pretended.

    plan     what to fetch, what to run, what to keep: plain data, one function per kind of job
    Job      carries a plan out on a thread of its own and writes each state into the store
    Jobs     all that are running; the way to stop them; their logs

Logs go to `logs/<kind>/<job>.log`, and from there to CloudWatch Logs whenever somebody asks it.
"""

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sagemaker_emulator import client
from sagemaker_emulator.api import resources
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.resources import Kind, find, insert, lacking, name_of, refuse, region_of
from sagemaker_emulator.api.store import AlreadyExists
from sagemaker_emulator.errors import invalid

CHILD = str(Path(__file__).with_name("_job.py"))
SCRIPT_MODE_IMAGE = "sagemaker-scikit-learn"
PYTHON = re.compile(r"python(3(\.\d+)?)?")
OPT_ML = re.compile(r"(^|[=:])/opt/ml(?=/|$)")
HOST = "algo-1"
KEPT_LOGS = "KeptLogs"  # in the store, of endpoints that are deleted
STOP_GRACE_SECONDS = 5  # AWS: 120
HOSTS = {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"}
MAX_REASON = 1024
BROKE = "InternalServerError: sagemaker_emulator broke, see server.log"
DEFAULT_RUNTIME = {"MaxRuntimeInSeconds": 86400}
# Of the user's environment, what a job gets: a container would not have the rest, tokens included.
PASSED_ON = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|(?i:(HTTPS?|ALL|NO)_PROXY)")
INSTANCE_LINE = re.compile(r"([^/ ]+/i-[0-9a-f]+) (.*)")  # of an endpoint's log, see _serve.py

PROCESSING = Kind(
    name="ProcessingJob",
    resource="processing-job",
    summaries="ProcessingJobSummaries",
    taken=("ResourceInUse", "Job name must be unique within an AWS account and region, and a"
           " processing job with this name already exists ({arn})"),
    missing=("ResourceNotFound", "Could not find requested job with name: {name}"),
    born={"ProcessingJobStatus": "InProgress", "StoppingCondition": DEFAULT_RUNTIME},
)  # fmt: skip
TRAINING = Kind(
    name="TrainingJob",
    resource="training-job",
    summaries="TrainingJobSummaries",
    taken=("ResourceInUse", "Training job names must be unique within an AWS account and region,"
           " and a training job with this name already exists ({arn})"),
    missing=("ResourceNotFound", "Requested resource not found: training job {name}"),
    born={
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "StoppingCondition": DEFAULT_RUNTIME,
    },
)  # fmt: skip


class JobError(Exception):
    """Why a job failed, in the words of its FailureReason."""


@dataclass(frozen=True)
class Plan:
    inputs: list  # (S3 URI, folder)
    command: list
    environment: dict
    work_folder: Path
    config: dict  # {path below the job's /opt/ml: JSON content}
    outputs: list  # (folder, S3 URI): every file below the folder
    archives: list  # (folder, S3 URI, also for a failed job): one tar.gz
    source: str | None = None  # S3 URI of the tarball that holds a training script


def relocate(text, ml):
    return OPT_ML.sub(lambda match: f"{match[1]}{ml}", text)


def _local(path, ml):
    if not (path or "").startswith("/opt/ml/") or ".." in Path(path).parts:
        raise JobError(f"ClientError: LocalPath {path!r} must be below /opt/ml")
    return Path(relocate(path, ml))


def _command(specification, image, ml):
    """The entrypoint and arguments of a job; None where the image would have to supply them."""
    entrypoint = specification.get("ContainerEntrypoint")
    if not entrypoint:
        return None
    command = [*entrypoint, *(specification.get("ContainerArguments") or [])]
    command = [relocate(part, ml) for part in command]
    if PYTHON.fullmatch(os.path.basename(command[0])):
        command[0] = sys.executable
    elif SCRIPT_MODE_IMAGE not in image:
        raise JobError(
            f"ClientError: cannot run {entrypoint[0]!r} of the image {image}:"
            " sagemaker_emulator runs no container. Give a ContainerEntrypoint that starts with"
            " python3."
        )
    return command


def _no_command(image):
    return JobError(
        f"ClientError: the job has no ContainerEntrypoint and sagemaker_emulator runs no container,"
        f" so what the image {image} would start is unknown."
    )


def processing_plan(job, ml):
    specification = job["AppSpecification"]
    command = _command(specification, specification["ImageUri"], ml)
    if command is None:
        raise _no_command(specification["ImageUri"])
    inputs, outputs = [], []
    for item in job.get("ProcessingInputs") or []:
        source, where = item.get("S3Input"), f"input '{item['InputName']}'"
        if source is None:
            raise JobError(f"ClientError: {where}: sagemaker_emulator has S3Input only")
        for member, wanted in (
            ("S3DataType", "S3Prefix"),
            ("S3InputMode", "File"),
            ("S3CompressionType", "None"),
        ):
            _only(source, member, wanted, where)
        inputs.append((source["S3Uri"], _local(source.get("LocalPath"), ml)))
    for item in (job.get("ProcessingOutputConfig") or {}).get("Outputs") or []:
        target = item.get("S3Output")
        if target is None:
            raise JobError(f"ClientError: output '{item['OutputName']}' needs an S3Output")
        outputs.append((_local(target.get("LocalPath"), ml), target["S3Uri"]))
    return Plan(
        inputs=inputs,
        command=command,
        environment=_relocated(job.get("Environment"), ml),
        work_folder=ml,
        config={"config/processingjobconfig.json": job, "config/resourceconfig.json": HOSTS},
        outputs=outputs,
        archives=[],
    )


def _only(item, member, wanted, where):
    if item.get(member) not in (None, wanted):
        raise JobError(
            f"ClientError: {where}: {member} is {item[member]};"
            f" sagemaker_emulator has {wanted} only"
        )


def _relocated(environment, ml):
    return {name: relocate(value, ml) for name, value in (environment or {}).items()}


def training_plan(job, ml):
    specification = job["AlgorithmSpecification"]
    image = specification["TrainingImage"]
    environment = _relocated(job.get("Environment"), ml)
    channels = job.get("InputDataConfig") or []
    inputs, code = [], ml / "code"
    for channel in channels:
        where, source = f"channel '{channel['ChannelName']}'", channel["DataSource"]
        if "S3DataSource" not in source:
            raise JobError(f"ClientError: {where}: sagemaker_emulator has S3DataSource only")
        _only(source["S3DataSource"], "S3DataType", "S3Prefix", where)
        _only(channel, "CompressionType", "None", where)
        if (channel.get("InputMode") or specification["TrainingInputMode"]) == "Pipe":
            raise JobError(f"ClientError: {where}: sagemaker_emulator has no InputMode Pipe")
        folder = ml / "input/data" / channel["ChannelName"]
        inputs.append((source["S3DataSource"]["S3Uri"], folder))
    command, submitted = _command(specification, image, ml), None
    if command is None:
        settings = _decoded(job.get("HyperParameters") or {})
        program = settings.get("sagemaker_program") or environment.get("SAGEMAKER_PROGRAM")
        if SCRIPT_MODE_IMAGE not in image or not program:
            raise _no_command(image)
        submitted = settings.get("sagemaker_submit_directory")
        submitted = submitted or environment.get("SAGEMAKER_SUBMIT_DIRECTORY") or str(code)
        if not submitted.startswith("s3://"):
            code, submitted = Path(relocate(submitted, ml)), None
        arguments = _arguments(_own(settings))
        command = [sys.executable, str(code / program), *arguments]
        environment = _toolkit_variables(job, ml, code, program, arguments) | environment
    target = _output_uri(job)
    return Plan(
        inputs=inputs,
        command=command,
        environment=environment,
        work_folder=code,
        config={
            "input/config/hyperparameters.json": job.get("HyperParameters") or {},
            "input/config/inputdataconfig.json": {c["ChannelName"]: _channel(c) for c in channels},
            "input/config/resourceconfig.json": HOSTS,
        },
        outputs=[],
        archives=[
            (ml / "model", f"{target}/model.tar.gz", False),
            (ml / "output/data", f"{target}/output.tar.gz", True),
        ],
        source=submitted,
    )


def _channel(channel):
    return {
        "ContentType": channel.get("ContentType") or "",
        "TrainingInputMode": channel.get("InputMode") or "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": channel.get("RecordWrapperType") or "None",
    }


def _decoded(hyperparameters):
    """Values as the training toolkit reads them: JSON where they are JSON, else the text."""
    decoded = {}
    for name, text in hyperparameters.items():
        try:
            decoded[name] = json.loads(text)
        except ValueError:
            decoded[name] = text
    return decoded


def _own(settings):
    return {
        name: value
        for name, value in settings.items()
        if not name.startswith("sagemaker_") and name != "_tuning_objective_metric"
    }


def _arguments(own):
    """Hyperparameters on a command line, in the toolkit's order and form."""
    arguments = []
    for name, value in sorted(own.items()):
        if isinstance(value, dict):
            value = ",".join(f"{k}={v}" for k, v in sorted(value.items()))
        arguments += [f"--{name}" if len(name) > 1 else f"-{name}", str(value)]
    return arguments


def _toolkit_variables(job, ml, code, program, arguments):
    """The SM_* variables that scripts for the framework containers read."""
    own = _own(_decoded(job.get("HyperParameters") or {}))
    channels = {c["ChannelName"]: c for c in job.get("InputDataConfig") or []}
    values = {
        "HOSTS": [HOST],
        "CURRENT_HOST": HOST,
        "NETWORK_INTERFACE_NAME": "lo",
        "NUM_CPUS": os.cpu_count(),
        "NUM_GPUS": 0,
        "HPS": own,
        "USER_ENTRY_POINT": program,
        "USER_ARGS": arguments,
        "MODULE_NAME": program.removesuffix(".py"),
        "MODULE_DIR": job.get("HyperParameters", {}).get("sagemaker_submit_directory", str(code)),
        "LOG_LEVEL": 20,
        "MODEL_DIR": str(ml / "model"),
        "INPUT_DIR": str(ml / "input"),
        "INPUT_CONFIG_DIR": str(ml / "input/config"),
        "OUTPUT_DIR": str(ml / "output"),
        "OUTPUT_DATA_DIR": str(ml / "output/data"),
        "OUTPUT_INTERMEDIATE_DIR": str(ml / "output/intermediate"),
        "CHANNELS": sorted(channels),
        "RESOURCE_CONFIG": HOSTS,
        "INPUT_DATA_CONFIG": {name: _channel(c) for name, c in channels.items()},
    }
    values |= {f"CHANNEL_{name.upper()}": str(ml / "input/data" / name) for name in channels}
    values |= {f"HP_{name.upper()}": value for name, value in own.items()}
    return {
        f"SM_{name}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in values.items()
    } | {"TRAINING_JOB_NAME": job["TrainingJobName"]}


PLANS = {PROCESSING.name: processing_plan, TRAINING.name: training_plan}


class Job:
    def __init__(self, jobs, kind, document):
        self.jobs = jobs
        self.kind = kind
        self.arn = document[f"{kind.name}Arn"]
        self.name = document[f"{kind.name}Name"]
        self.document = document
        self.log_path = jobs.log_path(kind, self.name)
        self.process = None
        self.stopped_by = None  # "Stopped", "MaxRuntimeExceeded", once somebody has stopped it
        self.ended = False
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def wait(self):
        self.thread.join()
        return self.jobs.store.get(self.arn)

    def stop(self, why):
        """Ask the whole process group to end, and make it so a little later."""
        with self.lock:
            if self.ended:
                return
            self.stopped_by = self.stopped_by or why
            self._set("Stopping", SecondaryStatus="Stopping")
        self.signal(signal.SIGTERM)
        killer = threading.Timer(STOP_GRACE_SECONDS, self.signal, [signal.SIGKILL])
        killer.daemon = True
        killer.start()

    def signal(self, number):
        with self.lock:
            if self.process and self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, number)

    def _run(self):
        folder = self.jobs.folder / "jobs" / f"{self.kind.resource}-{self.name}"
        ml = folder / "opt/ml"
        try:
            code = self._carry_out(PLANS[self.kind.name](self.document, ml), ml)
            ended = self._how_it_ended(code, ml)
        except JobError as error:
            ended = self._failed(str(error))
        except Exception:
            traceback.print_exc()
            ended = self._failed(BROKE)
        # Whoever sees the last state finds nothing left of the job.
        shutil.rmtree(folder, ignore_errors=True)
        with self.lock, self.jobs.store.lock:
            self.jobs.running.pop(self.arn)
            self.ended = True
            self._set(**ended)

    def _carry_out(self, plan, ml):
        self._set("InProgress", SecondaryStatus="Downloading")
        for folder in ("model", "code", "input/config", "input/data", "output/data"):
            (ml / folder).mkdir(parents=True, exist_ok=True)
        for path, content in plan.config.items():
            (ml / path).parent.mkdir(exist_ok=True)
            (ml / path).write_text(json.dumps(content))
        for uri, folder in plan.inputs:
            self._fetch(uri, folder)
        for folder, _ in plan.outputs:
            folder.mkdir(parents=True, exist_ok=True)
        if plan.source:
            self._unpack(plan.source, ml / "code")
        started = time.time()
        self._set(
            "InProgress",
            SecondaryStatus="Training",
            **{f"{self._prefix}StartTime": started, "LastModifiedTime": started},
        )
        code = self._run_command(plan, ml)
        ended = time.time()
        self._set("InProgress", SecondaryStatus="Uploading")
        if code == 0 and not self.stopped_by:
            for folder, uri in plan.outputs:
                self._keep_files(folder, uri)
        for folder, uri, also_failed in plan.archives:
            if code == 0 or self.stopped_by or also_failed:
                self._keep_archive(folder, uri)
        self.document[f"{self._prefix}EndTime"] = ended
        return code

    @property
    def _prefix(self):
        return self.kind.name.removesuffix("Job")

    def _run_command(self, plan, ml):
        environment = {k: v for k, v in os.environ.items() if PASSED_ON.fullmatch(k)}
        environment |= client.environment(self.jobs.url, region_of(self.arn), self.jobs.secret)
        environment |= {"PYTHONUNBUFFERED": "1", f"{self._prefix.upper()}_JOB_ARN": self.arn}
        path = os.pathsep.join([os.path.dirname(sys.executable), environment.get("PATH", "")])
        temporary = ml.parent.parent / "tmp"  # goes with the job's folder, however the job ends
        temporary.mkdir(exist_ok=True)
        # Jobs share this machine: OpenMP threads of two that spin while they wait stop both.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "TMPDIR": str(temporary), "PATH": path}
        environment |= plan.environment
        with open(self.log_path, "ab") as log:
            with self.lock:
                if self.stopped_by:
                    return 0
                self.process = subprocess.Popen(
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
            timer = threading.Timer(limit or 86400, self.stop, ["MaxRuntimeExceeded"])
            timer.daemon = True
            timer.start()
            code = self.process.wait()
            timer.cancel()
            with contextlib.suppress(ProcessLookupError):  # what the script left running
                os.killpg(self.process.pid, signal.SIGKILL)
        return code

    # S3

    def _fetch(self, uri, folder):
        bucket, prefix = bucket_and_key(uri)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            keys = self.jobs.neighbours.list_objects(bucket, prefix)
        except LookupError as error:
            raise JobError(f"ClientError: cannot read {uri}: {error}") from None
        found = [key for key in keys if not key.endswith("/")]
        if not found:
            raise JobError(f"ClientError: no S3 object matches the prefix {uri}")
        for key in found:
            path = folder / _relative(key, prefix)
            if ".." in path.parts:
                raise JobError(f"ClientError: the S3 key {key!r} leads out of the job's folder")
            body = self.jobs.neighbours.read_object(bucket, key)
            if body is None:
                raise JobError(f"ClientError: the S3 object s3://{bucket}/{key} has been deleted")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
            except OSError as error:
                reason = f"the S3 key {key!r} cannot be a file: {error.strerror}"
                raise JobError(f"ClientError: {reason}") from None

    def _unpack(self, uri, folder):
        body = self.jobs.neighbours.read_object(*bucket_and_key(uri))
        if body is None:
            raise JobError(f"ClientError: sagemaker_submit_directory: there is no {uri}")
        try:
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise JobError(f"ClientError: cannot unpack {uri}: {error}") from None

    def _keep(self, uri, body):
        try:
            self.jobs.neighbours.write_object(*bucket_and_key(uri), body)
        except LookupError as error:
            raise JobError(f"ClientError: cannot write {uri}: {error}") from None

    def _keep_files(self, folder, uri):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                target = f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}"
                self._keep(target, path.read_bytes())

    def _keep_archive(self, folder, uri):
        if any(path.is_file() for path in folder.rglob("*")):
            self._keep(uri, archive(folder))

    # How it ended

    def _how_it_ended(self, code, ml):
        changes = {f"{self._prefix}EndTime": self.document[f"{self._prefix}EndTime"]}
        log = self.log_path.read_text(errors="replace")
        changes["FinalMetricDataList"] = _metrics(self.document, log, time.time())
        if self.kind is PROCESSING:
            changes["ExitMessage"] = _said(ml, "message")
        if self.stopped_by == "MaxRuntimeExceeded":
            limit = self.document["StoppingCondition"]["MaxRuntimeInSeconds"]
            reason = f"the job ran longer than its MaxRuntimeInSeconds of {limit} and was stopped"
            if self.kind is PROCESSING:
                return self._failed(f"ClientError: {reason}") | changes
            return changes | {"status": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}
        if self.stopped_by:
            return changes | {"status": "Stopped", "SecondaryStatus": "Stopped"}
        if code:
            code = f"exit code: {code if code > 0 else 128 - code}"
            last = last_words(log).replace(str(ml), "/opt/ml") or "the script said nothing"
            if self.kind is PROCESSING:
                reason = f"See job logs for more information, {code}: {last}"
            else:
                reason = f"{(_said(ml, 'failure') or last)[: MAX_REASON - 40]}, {code}"
            return self._failed(f"AlgorithmError: {reason}") | changes
        return changes | {"status": "Completed", "SecondaryStatus": "Completed"}

    def _failed(self, reason):
        with contextlib.suppress(OSError), open(self.log_path, "a") as log:
            log.write(f"sagemaker_emulator: {reason}\n")
        return {
            "status": "Failed",
            "SecondaryStatus": "Failed",
            "FailureReason": reason[:MAX_REASON],
            f"{self._prefix}EndTime": time.time(),
        }

    def _set(self, status, SecondaryStatus, **changes):
        now = time.time()
        changes = {"LastModifiedTime": now} | changes
        if self.stopped_by and status == "InProgress":
            status = "Stopping"
        changes[f"{self.kind.name}Status"] = status
        if self.kind is TRAINING:
            changes |= {
                "SecondaryStatus": SecondaryStatus,
                "SecondaryStatusTransitions": self._transitions(SecondaryStatus, now),
            }
        self.jobs.store.update(self.arn, **changes)

    def _transitions(self, status, now):
        past = self.document.setdefault("SecondaryStatusTransitions", [])
        if past:
            past[-1]["EndTime"] = now
        past.append({"Status": status, "StartTime": now, "StatusMessage": status})
        return past


def bucket_and_key(uri):
    if not uri.startswith("s3://"):
        raise JobError(f"ClientError: {uri} is no s3:// URI")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _relative(key, prefix):
    """Where an object of a prefix lies in its folder: below the prefix, or beside it."""
    if key.startswith(prefix.rstrip("/") + "/") or not prefix:
        return key[len(prefix) :].lstrip("/")
    return key[prefix.rfind("/") + 1 :]


def archive(folder):
    """A tar.gz of a folder that depends on nothing but names and contents."""

    def plain(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            tar.add(path, arcname=name, recursive=False, filter=plain)
    return buffer.getvalue()


def _metrics(document, log, now):
    """The last value of each metric that the definitions find in the log."""
    found = []
    for metric in document.get("AlgorithmSpecification", {}).get("MetricDefinitions") or []:
        with contextlib.suppress(re.error, ValueError, IndexError):
            values = [match[1] for match in re.finditer(metric["Regex"], log)]
            if values:
                item = {"MetricName": metric["Name"], "Value": float(values[-1]), "Timestamp": now}
                found.append(item)
    return found or None


def _said(ml, name):
    """What a script wrote into /opt/ml/output/<name>, for us to tell."""
    path = ml / "output" / name
    if not path.is_file():
        return None
    return path.read_text(errors="replace").strip().replace(str(ml), "/opt/ml")[:MAX_REASON]


def last_words(log):
    """The exception a traceback ends with, or the last line of the log."""
    lines = [line for line in log.splitlines() if line.strip()]
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if starts:
        rest = lines[starts[-1] + 1 :]
        ends = [n for n, line in enumerate(rest) if not line.startswith(" ")]
        if ends:
            return "\n".join(rest[ends[0] :])
    return lines[-1] if lines else ""


class Jobs:
    def __init__(self, folder, store, neighbours, secret):
        self.folder = folder
        self.store = store
        self.neighbours = neighbours
        self.secret = secret
        self.url = None  # set once the server knows its port
        self.running = {}
        self.imported = {}  # {ARN: how much of its log CloudWatch has}
        self.import_lock = threading.Lock()
        # Every child holds the reading end. The writing end is ours alone and is never written.
        self.lifeline, self.writing_end = os.pipe()
        for kind in (PROCESSING, TRAINING):
            self.log_path(kind, "x").parent.mkdir(parents=True, exist_ok=True)
        self.tidy()  # a killed server may leave some

    def log_path(self, kind, name):
        return self.folder / "logs" / f"{kind.name}s" / f"{name}.log"

    def start(self, kind, document):
        job = Job(self, kind, document)
        image = _image(document)
        job.log_path.write_text(
            f"sagemaker_emulator: {kind.name} {job.name}, one process on this machine;"
            f" no container, the image {image} is not pulled\n"
        )
        self.running[job.arn] = job
        job.thread.start()
        return job

    def tidy(self):
        shutil.rmtree(self.folder / "jobs", ignore_errors=True)

    def kill(self):
        """End every job now, waiting for nobody's lock."""
        for job in list(self.running.values()):
            if job.process and job.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.process.pid, signal.SIGKILL)

    def import_logs(self):
        """Bring CloudWatch Logs up to date with the log files."""
        from moto.logs.models import logs_backends

        with self.import_lock:
            arns = [document["EndpointArn"] for document in self.store.list("Endpoint")]
            arns += [document["LogsOf"] for document in self.store.list(KEPT_LOGS)]
            for arn in dict.fromkeys(arns):
                self._import_endpoint_log(logs_backends[ACCOUNT], arn)
            for kind in (PROCESSING, TRAINING):
                for document in self.store.list(kind.name):
                    self._import_log(logs_backends[ACCOUNT], kind, document)

    def _import_log(self, backends, kind, document):
        arn, name = document[f"{kind.name}Arn"], document[f"{kind.name}Name"]
        lines, written = self._new_lines(arn, self.log_path(kind, name))
        if lines:
            group = f"/aws/sagemaker/{kind.name}s"
            stream = f"{name}/{HOST}-{int(document['CreationTime'] * 1000)}"
            _put_lines(backends[region_of(arn)], group, stream, lines, written)

    def keep_logs(self, arn):
        """An endpoint's logs outlive it."""
        with contextlib.suppress(AlreadyExists):
            kept = {"LogsOf": arn, "CreationTime": time.time()}
            self.store.insert(KEPT_LOGS, f"{arn}/logs", kept)

    def _import_endpoint_log(self, backends, arn):
        """One file for all instances: each line begins with the name of its stream."""
        name = name_of(arn)
        lines, written = self._new_lines(arn, self.folder / f"logs/Endpoints/{name}.log")
        streams = {}
        for line in lines:
            if found := INSTANCE_LINE.fullmatch(line):
                streams.setdefault(found[1], []).append(found[2])
        for stream, own in streams.items():
            group = f"/aws/sagemaker/Endpoints/{name}"
            _put_lines(backends[region_of(arn)], group, stream, own, written)

    def _new_lines(self, arn, path):
        """The lines that CloudWatch does not have yet, and when the last one was written."""
        start = self.imported.get(arn, 0)
        if not path.exists() or path.stat().st_size <= start:
            return [], 0
        with open(path, "rb") as file:
            file.seek(start)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]  # whole lines only, the rest next time
        self.imported[arn] = start + len(text)
        return text.decode(errors="replace").splitlines(), int(path.stat().st_mtime * 1000)


def _put_lines(backend, group, stream, lines, written):
    backend.ensure_log_group(group)
    backend.ensure_log_stream(group, stream)
    events = [{"timestamp": written, "message": line} for line in lines]
    backend.groups[group].put_log_events(stream, events)


def _image(document):
    specification = document.get("AppSpecification") or document["AlgorithmSpecification"]
    return specification.get("ImageUri") or specification["TrainingImage"]


# Operations


def create_job(kind, sagemaker, request, region):
    return start_job(kind, sagemaker, request, region).document


def start_job(kind, sagemaker, request, region):
    members = {}
    if kind is PROCESSING:
        cluster = request["ProcessingResources"]["ClusterConfig"]
    else:
        refuse("CreateTrainingJob", request, "CheckpointConfig", "DebugRuleConfigurations")
        refuse("CreateTrainingJob", request, "ServerlessJobConfig", "ModelPackageConfig")
        members["ModelArtifacts"] = {"S3ModelArtifacts": f"{_output_uri(request)}/model.tar.gz"}
        cluster = request.get("ResourceConfig") or {}
        if not (request.get("AlgorithmSpecification") or {}).get("TrainingImage"):
            raise invalid("AlgorithmSpecification.TrainingImage is required")
    if cluster.get("InstanceCount", 1) != 1 or cluster.get("InstanceGroups"):
        count = cluster.get("InstanceCount", "InstanceGroups")
        raise lacking(f"jobs on several instances (InstanceCount {count}); set it to 1")
    if request.get("StoppingCondition"):
        members["StoppingCondition"] = request["StoppingCondition"]
    arn = kind.arn(region, request[f"{kind.name}Name"])
    with sagemaker.store.lock:
        document = insert(kind, sagemaker, request, arn, **members)
        return sagemaker.jobs.start(kind, document)


def _output_uri(job):
    path = job["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return f"{path}/{job['TrainingJobName']}/output"


def stop_job(kind, sagemaker, request, region):
    with sagemaker.store.lock:
        document = find(kind, sagemaker, request, region)
        job = sagemaker.jobs.running.get(document[f"{kind.name}Arn"])
    if job is None:
        status = document[f"{kind.name}Status"]
        raise invalid(f"The request was rejected because the {kind.resource} is {status}.")
    job.stop("Stopped")
    return {}


def delete_job(kind, sagemaker, request, region):
    document = find(kind, sagemaker, request, region)
    if document[f"{kind.name}Arn"] in sagemaker.jobs.running:
        raise resources.AwsError("ResourceInUse", f"The {kind.resource} is still running.")
    sagemaker.store.delete(document[f"{kind.name}Arn"])
    sagemaker.jobs.log_path(kind, document[f"{kind.name}Name"]).unlink(missing_ok=True)
    return {}


def recover(store):
    """Jobs that were running when the server last died have failed, and say so."""
    for kind in (PROCESSING, TRAINING):
        for document in store.list(kind.name):
            if document[f"{kind.name}Status"] in ("InProgress", "Stopping"):
                now = time.time()
                changes = {
                    f"{kind.name}Status": "Failed",
                    "FailureReason": "InternalServerError: the local server ended during the job",
                    f"{kind.name.removesuffix('Job')}EndTime": now,
                    "LastModifiedTime": now,
                }
                if kind is TRAINING:
                    changes["SecondaryStatus"] = "Failed"
                store.update(document[f"{kind.name}Arn"], **changes)


def _operations(kind):
    return resources.plain(kind) | {
        f"Create{kind.name}": partial(create_job, kind),
        f"Stop{kind.name}": partial(stop_job, kind),
        f"Delete{kind.name}": partial(delete_job, kind),
    }


OPERATIONS = _operations(PROCESSING) | _operations(TRAINING)
