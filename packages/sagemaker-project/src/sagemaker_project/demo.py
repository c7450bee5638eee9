"""`sagemaker-project demo`: from data to a rollback in prod and an audit, on this machine.

Train and register a model, approve it, deploy it to staging, test it, promote it to prod; a second
version by canary; a third one that is broken in a way that no test has seen, which its canary
catches; and a rollback by hand. Every command is printed as you would type it. Nothing leaves this
machine.
"""

import io
import json
import os
import random
import shlex
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from sagemaker_project import usage
from sagemaker_project.deploy.names import is_uncommitted
from sagemaker_project.errors import RunFailed, UsageError
from sagemaker_project.project import PACKAGE, Project
from sagemaker_project.sample import sample_of
from sagemaker_project.tabular.client import csv_body

if TYPE_CHECKING:  # the emulator is an extra, which may not be installed
    from sagemaker_emulator import Local

# CodeBuild may set these for another project; the demo uses the names of this one.
CODEBUILD_VARIABLES = (
    *("ARTIFACT_BUCKET", "SAGEMAKER_PROJECT_ID", "SAGEMAKER_PROJECT_NAME"),
    "SOURCE_MODEL_PACKAGE_GROUP_NAME",
)
SAMPLES = Path("build/demo")  # where rows are made up

# A typical mistake: it works for every recorded request, and for most of the real traffic.
BLANKS = "   "
BROKEN = f"""

_input_fn = input_fn


def input_fn(body, content_type):
    if content_type == "text/csv" and {BLANKS!r} in str(body):
        raise RuntimeError("blanks before a value were not expected here")
    return _input_fn(body, content_type)
"""


def run_demo(project: Project) -> None:
    """Run the demo of the repository in the working folder.

    Raises:
        UsageError: the emulator is not installed, or does not start.
        RunFailed: a command ended with another exit code than it should.
    """
    emulator = usage.emulator()
    local: Local
    try:
        with emulator.attach(region_name=project.region) as local:
            local.enter()
            Demo(project).run()
    except emulator.LocalError as error:
        raise UsageError(error) from None


class Demo:
    """The steps of the demo of one repository."""

    def __init__(self, project: Project) -> None:
        self.project = project
        *self.tested, self.last = project.stages
        self.endpoint = f"{project.name}-{self.last}"
        self.role = f"arn:{usage.partition_of(project.region)}:iam::123456789012:role/local"
        self.sagemaker = boto3.client("sagemaker")
        self.sample = sample_of(Path(), project.pipeline, SAMPLES)

    def run(self) -> None:
        started = time.monotonic()
        for name in CODEBUILD_VARIABLES:
            os.environ.pop(name, None)
        os.environ["MODEL_EXECUTION_ROLE_ARN"] = self.role
        print(f"$ export MODEL_EXECUTION_ROLE_ARN={self.role}")
        second = self.first_and_second_version()
        self.broken_version(second)

        print_title("7. Roll back by hand, as a person on call would")
        self.deploy("rollback", self.last)

        print_title(f"What happened to {self.last}")
        self.deploy("history", self.last)

        print_title("8. Trace a prediction of the canary back to the data and the commit")
        self.deploy("audit", self.last, "prediction", captured_id(self.endpoint, version=2))
        took = f"{time.monotonic() - started:.0f} s"
        print(f"\n{took}. Look around: .venv/bin/sagemaker-local up")

    def first_and_second_version(self) -> str:
        """Bring two versions to the last stage; return the ARN of the second."""
        print_title("1. Train, evaluate and register a model")
        first = self.train()
        print_title("2. Approve it: nothing is deployed without the approval of a person")
        self.approve(first)
        stages = " and ".join(self.tested)
        print_title(f"3. Deploy it to {stages}, and test it with recorded requests")
        self.deploy_and_test(first)
        print_title(
            f"4. {self.last.capitalize()}: the first version is created at once: nothing serves yet"
        )
        self.promote(first)
        create_alarms(self.endpoint)

        print_title(f"5. A second version goes to {self.last} by canary, watched by alarms")
        # Seed changes how it is trained, not which rows: both versions are tested on the same ones.
        second = self.train("Seed=7")
        self.approve(second)
        self.deploy_and_test(second)
        with self.traffic():
            self.promote(second)
        return second

    def broken_version(self, second: str) -> None:
        """Try to bring a broken copy of the second version to the last stage."""
        print_title("6. A third version is broken, and no recorded request shows it: a canary does")
        third = self.register_broken_copy(second)
        self.approve(third)
        self.deploy_and_test(third)
        with self.traffic():
            self.promote(third, expected=1)
        self.deploy("status", self.last, expected=None)  # an alarm may still be in ALARM

    def deploy(self, command: str, stage: str, *words: str, expected: int | None = 0) -> None:
        run("deploy-model", command, "--local", "--stage", stage, *words, expected=expected)

    def promote(self, arn: str, expected: int = 0) -> None:
        """Promote a version to the last stage, which asks for committed code."""
        words = ["--model-package-arn", arn]
        package = self.sagemaker.describe_model_package(ModelPackageName=arn)
        if is_uncommitted(package["CustomerMetadataProperties"].get("GitCommit", "unknown")):
            print("This work tree has uncommitted changes, which prod refuses unless told so.")
            words.append("--accept-uncommitted")
        self.deploy("promote", self.last, *words, expected=expected)

    def traffic(self) -> "Traffic":
        return Traffic(self.endpoint, self.sample.requests())

    def train(self, *parameters: str) -> str:
        """Run the pipeline; return the ARN of the package that it registered."""
        module = f"{PACKAGE}.{self.project.pipeline}.pipeline"
        words = ["--module-name", module, "--role-arn", self.role]
        words += ["--input-data", str(self.sample.path)]
        # On a small sample two seeds differ by more than the tolerance of a real gate.
        given = [*parameters, "ChampionTolerance=0.5"]
        if self.sample.is_made_up:  # the threshold of schema.json is for real data
            metric = self.sample.schema.metric
            given.append(f"{metric.parameter}={-1e9 if metric.more_is_better else 1e300!r}")
        run("run-pipeline", "--local", *words, "--parameters", *given)
        packages = self.sagemaker.list_model_packages(
            ModelPackageGroupName=self.project.model_package_group,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        return str(packages["ModelPackageSummaryList"][0]["ModelPackageArn"])

    def approve(self, arn: str) -> None:  # a person would look at the metrics first
        run("deploy-model", "approve", arn, "--local", "--reason", "its metrics are good")

    def deploy_and_test(self, arn: str) -> None:
        """Promote a version through all stages before the last, with their tests."""
        for stage in self.tested:
            self.deploy("promote", stage, "--model-package-arn", arn)
            self.deploy("test", stage)

    def register_broken_copy(self, arn: str) -> str:
        """Register a copy of a version whose serving code is broken; return its ARN."""
        package = self.sagemaker.describe_model_package(ModelPackageName=arn)
        [container] = package["InferenceSpecification"]["Containers"]
        s3 = boto3.client("s3")
        bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
        body = break_model(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        key = f"{self.project.name}/broken/model.tar.gz"
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        container = {
            "Image": container["Image"],
            "Environment": container["Environment"],
            "ModelDataUrl": f"s3://{bucket}/{key}",
        }
        metadata = dict(package["CustomerMetadataProperties"])
        for name in ("ModelSha256", "TrainingJobName", "PipelineExecutionArn"):
            metadata.pop(name, None)  # no execution made the copy
        specification = {
            name: value
            for name, value in package["InferenceSpecification"].items()
            if name.startswith("Supported")
        }
        answer = self.sagemaker.create_model_package(
            ModelPackageGroupName=self.project.model_package_group,
            InferenceSpecification={**specification, "Containers": [container]},
            ModelMetrics=package["ModelMetrics"],
            CustomerMetadataProperties=metadata,
            ModelApprovalStatus="PendingManualApproval",
        )
        return str(answer["ModelPackageArn"])


def print_title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*words: str, expected: int | None = 0) -> None:
    """Print a command of this project and run it; raise RunFailed on another exit code.

    Args:
        expected: None where any exit code will do.
    """
    print(f"$ {shlex.join(words)}", flush=True)
    path = Path(sys.executable).with_name(words[0])
    command = str(path) if path.exists() else words[0]
    code = subprocess.run([command, *words[1:]]).returncode
    if expected is not None and code != expected:
        raise RunFailed(f"{words[0]} ended with exit code {code}, expected {expected}")


def create_alarms(endpoint: str) -> None:
    """Create the two alarms that the last stage's settings name. In AWS this is done only once."""
    cloudwatch = boto3.client("cloudwatch")
    common = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    errors, latency = f"{endpoint}-model-errors", f"{endpoint}-latency"
    print(f"$ aws cloudwatch put-metric-alarm --alarm-name {errors} ...")
    cloudwatch.put_metric_alarm(
        AlarmName=errors,
        MetricName="InvocationModelErrors",
        Statistic="Sum",
        Threshold=0,
        **common,
    )
    print(f"$ aws cloudwatch put-metric-alarm --alarm-name {latency} ...")
    cloudwatch.put_metric_alarm(
        AlarmName=latency,
        MetricName="ModelLatency",
        ExtendedStatistic="p99",
        Threshold=1_000_000,  # microseconds
        **common,
    )


def break_model(body: bytes) -> bytes:
    """Return a copy of a model.tar.gz with BROKEN at the end of its code/inference.py."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(body)) as old,
        tarfile.open(fileobj=buffer, mode="w:gz") as new,
    ):
        for member in old:
            file = old.extractfile(member)  # None for a folder
            content = file.read() if file else b""
            if member.name == "code/inference.py":
                content += BROKEN.encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def captured_id(endpoint: str, version: int) -> str:
    """Return the inference id of the first request of the demo that a version has answered."""
    s3 = boto3.client("s3")
    config = boto3.client("sagemaker").list_endpoint_configs(NameContains=f"{endpoint}-v{version}-")
    name = config["EndpointConfigs"][0]["EndpointConfigName"]
    about = boto3.client("sagemaker").describe_endpoint_config(EndpointConfigName=name)
    folder = about["DataCaptureConfig"]["DestinationS3Uri"]
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", []):
        for line in s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().splitlines():
            found = str(json.loads(line)["eventMetadata"].get("inferenceId", ""))
            if found.startswith("demo-"):
                return found
    raise RunFailed(f"no request that version {version} answered was captured in {folder}")


class Traffic:
    """Invoke the endpoint while the block runs; one record in ten has blanks before a value."""

    def __init__(self, endpoint: str, records: Sequence[Sequence[str]]) -> None:
        self.endpoint = endpoint
        self.records = records
        self.answers = {"answered": 0, "failed": 0}
        self.name = f"demo-{int(time.time())}"
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        print("traffic meanwhile: {answered} answered, {failed} failed".format(**self.answers))

    def _send(self) -> None:
        runtime = boto3.client("sagemaker-runtime")
        random.seed(0)
        while not self.ended.wait(0.02):
            record = list(random.choice(self.records))
            if random.random() < 0.1:
                record[-1] = BLANKS + record[-1]
            try:
                runtime.invoke_endpoint(
                    EndpointName=self.endpoint,
                    Body=csv_body([record]),
                    ContentType="text/csv",
                    InferenceId=f"{self.name}-{sum(self.answers.values()) + 1}",
                )
                self.answers["answered"] += 1
            except runtime.exceptions.ModelError:
                self.answers["failed"] += 1
