"""The whole way of a model on this machine, which `sagemaker-project demo` goes.

Train and register, approve, staging, test, prod; a second version by canary; a third one that is
broken in a way no test has seen, which its canary catches; and a rollback by hand. Every command
is printed as you would type it. Nothing leaves this machine.
"""

import io
import os
import random
import shlex
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import boto3

from sagemaker_project import usage
from sagemaker_project.project import PACKAGE, Project

OF_CODEBUILD = (  # the demo is of this repository as it stands
    *("ARTIFACT_BUCKET", "SAGEMAKER_PROJECT_ID", "SAGEMAKER_PROJECT_NAME"),
    "SOURCE_MODEL_PACKAGE_GROUP_NAME",
)
SAMPLE = "data/abalone-sample.csv"

# A mistake as they happen: it works for every recorded request, and for most of real traffic.
BROKEN = """

_predict_fn = predict_fn


def predict_fn(rows, model):
    if not isinstance(rows, ClientError) and any("" in record for record in rows.records):
        raise RuntimeError("a missing value was not expected here")
    return _predict_fn(rows, model)
"""


def main(project: Project) -> int:
    """Go the whole way in the repository in the working folder; the exit code."""
    try:
        with usage.emulator().attach(region_name=project.region) as local:
            local.enter()
            Demo(project).run()
    except usage.emulator().LocalError as error:
        raise usage.UsageError(error) from None
    return 0


class Demo:
    """The names and clients of one repository's demo."""

    def __init__(self, project: Project) -> None:
        self.project = project
        *self.tested, self.last = project.stages
        self.endpoint = f"{project.name}-{self.last}"
        self.role = f"arn:{usage.partition_of(project.region)}:iam::123456789012:role/local"
        self.sagemaker = boto3.client("sagemaker")

    def run(self) -> None:
        started = time.monotonic()
        for name in OF_CODEBUILD:
            os.environ.pop(name, None)
        os.environ["MODEL_EXECUTION_ROLE_ARN"] = self.role
        print(f"$ export MODEL_EXECUTION_ROLE_ARN={self.role}")
        say("1. Train, evaluate and register a model")
        first = self.trained()
        say("2. Approve it: nothing is deployed before a person says so")
        self.approve(first)
        say(f"3. Deploy it to {' and '.join(self.tested)}, and test it with recorded requests")
        self.staged(first)
        say(
            f"4. {self.last.capitalize()}: the first version is created at once: nothing serves yet"
        )
        self.deploy("promote", self.last, "--model-package-arn", first)
        create_alarms(self.endpoint)

        say(f"5. A second version goes to {self.last} by canary, watched by alarms")
        second = self.trained("--parameters", "Seed=7")
        self.approve(second)
        self.staged(second)
        with Traffic(self.endpoint):
            self.deploy("promote", self.last, "--model-package-arn", second)

        say("6. A third version is broken, and no recorded request shows it: its canary does")
        third = self.broken_copy(second)
        self.approve(third)
        self.staged(third)
        with Traffic(self.endpoint):
            self.deploy("promote", self.last, "--model-package-arn", third, expected=1)
        self.deploy("status", self.last)

        say("7. Back by hand, as somebody on call would")
        self.deploy("rollback", self.last)

        say(f"What happened to {self.last}")
        self.deploy("history", self.last)
        took = f"{time.monotonic() - started:.0f} s"
        print(f"\n{took}. Look around: .venv/bin/sagemaker-local up")

    def deploy(self, command: str, stage: str, *words: str, expected: int = 0) -> None:
        run("deploy-model", command, "--local", "--stage", stage, *words, expected=expected)

    def trained(self, *parameters: str) -> str:
        """Run the pipeline; the ARN of the package that it registered."""
        module = f"{PACKAGE}.{self.project.pipeline}.pipeline"
        words = ("--module-name", module, "--role-arn", self.role, "--input-data", SAMPLE)
        run("run-pipeline", "--local", *words, *parameters)
        packages = self.sagemaker.list_model_packages(
            ModelPackageGroupName=self.project.model_package_group,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        return packages["ModelPackageSummaryList"][0]["ModelPackageArn"]

    def approve(self, arn: str) -> None:
        status, reason = "Approved", "its metrics are good"
        command = ("aws", "sagemaker", "update-model-package", "--model-package-arn", arn)
        options = ("--model-approval-status", status, "--approval-description", reason)
        print(f"$ {shlex.join(command)} \\\n      {shlex.join(options)}", flush=True)
        self.sagemaker.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=reason
        )

    def staged(self, arn: str) -> None:
        for stage in self.tested:
            self.deploy("promote", stage, "--model-package-arn", arn)
            self.deploy("test", stage)

    def broken_copy(self, arn: str) -> str:
        """Register a version that differs from `arn` by a mistake in its serving code."""
        package = self.sagemaker.describe_model_package(ModelPackageName=arn)
        [container] = package["InferenceSpecification"]["Containers"]
        s3 = boto3.client("s3")
        bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
        body = with_mistake(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        key = f"{self.project.name}/broken/model.tar.gz"
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        kept = ("Image", "Environment")
        container = {name: container[name] for name in kept} | {
            "ModelDataUrl": f"s3://{bucket}/{key}"
        }
        metadata = dict(package["CustomerMetadataProperties"])
        del metadata["ModelSha256"]  # that of another artifact
        specification = {
            name: value
            for name, value in package["InferenceSpecification"].items()
            if name.startswith("Supported")
        }
        return self.sagemaker.create_model_package(
            ModelPackageGroupName=self.project.model_package_group,
            InferenceSpecification={**specification, "Containers": [container]},
            ModelMetrics=package["ModelMetrics"],
            CustomerMetadataProperties=metadata,
            ModelApprovalStatus="PendingManualApproval",
        )["ModelPackageArn"]


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*words, expected=0):
    """Run a command of this project, shown as it can be typed."""
    print(f"$ {shlex.join(words)}", flush=True)
    path = Path(sys.executable).with_name(words[0])
    command = str(path) if path.exists() else words[0]
    code = subprocess.run([command, *words[1:]]).returncode
    if code != expected:
        sys.exit(f"demo: {words[0]} ended with exit code {code}, {expected} was expected")


def create_alarms(endpoint: str) -> None:
    """The two that the last stage's settings name. In AWS they are made once, not by a demo."""
    cloudwatch = boto3.client("cloudwatch")
    about = {
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
        **about,
    )
    print(f"$ aws cloudwatch put-metric-alarm --alarm-name {latency} ...")
    cloudwatch.put_metric_alarm(
        AlarmName=latency,
        MetricName="ModelLatency",
        ExtendedStatistic="p99",
        Threshold=1_000_000,  # microseconds
        **about,
    )


def with_mistake(body):
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(body)) as old,
        tarfile.open(fileobj=buffer, mode="w:gz") as new,
    ):
        for member in old:
            content = old.extractfile(member).read() if member.isfile() else b""
            if member.name == "code/inference.py":
                content += BROKEN.encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Traffic:
    """Somebody uses the endpoint while the block runs; one record in ten has a missing value."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.answers = {"answered": 0, "failed": 0}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._send)
        rows = [line.split(",") for line in Path(SAMPLE).read_text().splitlines()]
        self.records = [row[:-1] for row in rows]  # the label is what is asked for

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        print("traffic meanwhile: {answered} answered, {failed} failed".format(**self.answers))

    def _send(self):
        runtime = boto3.client("sagemaker-runtime")
        random.seed(0)
        while not self.ended.wait(0.02):
            record = list(random.choice(self.records))
            if random.random() < 0.1:
                record[3] = ""
            try:
                runtime.invoke_endpoint(
                    EndpointName=self.endpoint, Body=",".join(record), ContentType="text/csv"
                )
                self.answers["answered"] += 1
            except runtime.exceptions.ModelError:
                self.answers["failed"] += 1
