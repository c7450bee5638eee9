"""The whole way of a model on this machine: `make demo` runs it against `sagemaker_local`.

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

PROJECT = "{{cookiecutter.project_slug}}"
GROUP = "{{cookiecutter.__pipeline_title}}PackageGroup"
MODULE = "pipelines.{{cookiecutter.pipeline_name}}.pipeline"
ROLE = "arn:{{cookiecutter.__partition}}:iam::123456789012:role/local"
SAMPLE = "data/abalone-sample.csv"
ENDPOINT = f"{PROJECT}-prod"

# A mistake as they happen: it works for every recorded request, and for most of real traffic.
BROKEN = """

_predict_fn = predict_fn


def predict_fn(rows, model):
    if not isinstance(rows, ClientError) and any("" in record for record in rows.records):
        raise RuntimeError("a missing value was not expected here")
    return _predict_fn(rows, model)
"""


def main():
    started = time.monotonic()
    os.environ["MODEL_EXECUTION_ROLE_ARN"] = ROLE
    sagemaker = boto3.client("sagemaker")

    title("1. Train, evaluate and register a model")
    first = trained()
    title("2. Approve it: nothing is deployed before a person says so")
    approve(sagemaker, first)
    title("3. Staging: deploy it, and test it with the requests that its evaluation recorded")
    staged(first)
    title("4. Prod: the first version is created at once, since nothing serves yet")
    deploy("promote", "prod", "--model-package-arn", first)
    create_alarms()

    title("5. A second version goes to prod by canary, watched by alarms")
    second = trained("--parameters", "Seed=7")
    approve(sagemaker, second)
    staged(second)
    with Traffic():
        deploy("promote", "prod", "--model-package-arn", second)

    title("6. A third version is broken, and no recorded request shows it: its canary does")
    third = broken_copy(sagemaker, second)
    approve(sagemaker, third)
    staged(third)
    with Traffic():
        deploy("promote", "prod", "--model-package-arn", third, expected=1)
    deploy("status", "prod")

    title("7. Back by hand, as somebody on call would")
    deploy("rollback", "prod")

    title("What happened to prod")
    deploy("history", "prod")
    print(f"\n{time.monotonic() - started:.0f} s. Look around: .venv/bin/sagemaker-local up")


def title(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*words, expected=0):
    """Run a command of this project, shown as it can be typed."""
    print(f"$ {shlex.join(words)}", flush=True)
    words = (str(Path(sys.executable).with_name(words[0])), *words[1:])
    code = subprocess.run(words).returncode
    if code != expected:
        sys.exit(f"demo: {words[0]} ended with exit code {code}, {expected} was expected")


def deploy(command, stage, *words, expected=0):
    run("deploy-model", command, "--local", "--stage", stage, *words, expected=expected)


def trained(*parameters):
    """Run the pipeline; the ARN of the package that it registered."""
    words = ("--module-name", MODULE, "--role-arn", ROLE, "--input-data", SAMPLE)
    run("run-pipeline", "--local", *words, *parameters)
    return latest_package()


def latest_package():
    packages = boto3.client("sagemaker").list_model_packages(
        ModelPackageGroupName=GROUP, SortBy="CreationTime", SortOrder="Descending"
    )
    return packages["ModelPackageSummaryList"][0]["ModelPackageArn"]


def approve(sagemaker, arn):
    status, reason = "Approved", "its metrics are good"
    command = ("aws", "sagemaker", "update-model-package", "--model-package-arn", arn)
    options = ("--model-approval-status", status, "--approval-description", reason)
    print(f"$ {shlex.join(command)} \\\n      {shlex.join(options)}", flush=True)
    sagemaker.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=reason
    )


def staged(arn):
    deploy("promote", "staging", "--model-package-arn", arn)
    deploy("test", "staging")


def create_alarms():
    """The two that deploy/prod-config.json names. In AWS they stand still, as the endpoint does."""
    cloudwatch = boto3.client("cloudwatch")
    about = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": [
            {"Name": "EndpointName", "Value": ENDPOINT},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    errors, latency = f"{ENDPOINT}-model-errors", f"{ENDPOINT}-latency"
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


def broken_copy(sagemaker, arn):
    """Register a version whose serving code has a mistake in it; all the rest is that of `arn`."""
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    [container] = package["InferenceSpecification"]["Containers"]
    s3 = boto3.client("s3")
    bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
    body = with_mistake(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    key = f"{PROJECT}/broken/model.tar.gz"
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    kept = ("Image", "Environment")
    container = {name: container[name] for name in kept} | {"ModelDataUrl": f"s3://{bucket}/{key}"}
    metadata = dict(package["CustomerMetadataProperties"])
    del metadata["ModelSha256"]  # that of another artifact
    specification = {
        name: value
        for name, value in package["InferenceSpecification"].items()
        if name.startswith("Supported")
    }
    return sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        InferenceSpecification={**specification, "Containers": [container]},
        ModelMetrics=package["ModelMetrics"],
        CustomerMetadataProperties=metadata,
        ModelApprovalStatus="PendingManualApproval",
    )["ModelPackageArn"]


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

    def __init__(self):
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
                    EndpointName=ENDPOINT, Body=",".join(record), ContentType="text/csv"
                )
                self.answers["answered"] += 1
            except runtime.exceptions.ModelError:
                self.answers["failed"] += 1


if __name__ == "__main__":
    main()
