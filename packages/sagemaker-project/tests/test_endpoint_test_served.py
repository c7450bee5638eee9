"""The endpoint test against real local endpoints: of the real model, and of models that are broken.

test_endpoint_test.py covers every kind of bad answer; these tests use the samples.json, registry
and served artifact of a real project.
"""

import dataclasses
import importlib
import io
import json
import re
import tarfile
import time

import boto3
import pytest
from botocore.config import Config

ROLE = "arn:aws:iam::123456789012:role/model"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
SERVING = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
    "OMP_NUM_THREADS": "1",
}
LIMITS = {"Requests": 40, "MaxP50Milliseconds": 5_000, "MaxP99Milliseconds": 10_000}

ANSWERS = "from sagemaker_project.tabular import answers\n"
# Appended to inference.py: faults that a model may have although its pipeline succeeded.
BROKEN = {
    "junk": ("def output_fn(prediction, accept): return '{\"predictions\": 1}', accept", "Form"),
    "nan": (
        "served = predict_fn\n"
        "def predict_fn(rows, model): return [float('nan') for _ in served(rows, model)]",
        "Finite predictions",
    ),
    "another model": (
        "served = predict_fn\n"
        "def predict_fn(rows, model): return [7.0 for _ in served(rows, model)]",
        "Values",
    ),
    "fails": ("def predict_fn(rows, model): raise ValueError", "Samples answered"),
    "raises at a client's mistake": (
        f"{ANSWERS}def error_response(error): raise error\nanswers.error_response = error_response",
        "Refuses empty body",
    ),
    "answers a client's mistake": (
        f"{ANSWERS}answers.error_response = lambda error: ('[]', 'application/json')",
        "Refuses empty body",
    ),
}


@pytest.fixture(scope="module")
def deploy(deploy_project):
    """The module `deploy.endpoint_test`."""
    return importlib.import_module("sagemaker_project.deploy.endpoint_test")


@pytest.fixture(scope="module")
def samples(deploy, built):
    body = (built / "evaluation/samples.json").read_bytes()
    provenance = json.loads((built / "evaluation/provenance.json").read_text())
    return deploy.read_samples(body, provenance["samples"]["sha256"])


class Cloud:
    def __init__(self, local):
        self.local = local
        self.sagemaker, self.s3 = self.client("sagemaker"), self.client("s3")
        self.runtime = self.client("sagemaker-runtime")
        self.s3.create_bucket(Bucket="bucket")

    def client(self, service):
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.local.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            aws_session_token=self.local.secret,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
        )

    def serve(self, name, artifact, config=(), **members):
        """An endpoint of this artifact, in service."""
        self.s3.put_object(Bucket="bucket", Key=f"{name}/model.tar.gz", Body=artifact)
        container = {"Image": IMAGE, "ModelDataUrl": f"s3://bucket/{name}/model.tar.gz"}
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={**container, "Environment": SERVING},
        )
        variant = {"VariantName": "AllTraffic", "ModelName": name}
        size = members or {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, **size}], **dict(config)
        )
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        end = time.monotonic() + 60
        while (found := self.sagemaker.describe_endpoint(EndpointName=name))[
            "EndpointStatus"
        ] == "Creating":
            assert time.monotonic() < end, found
            time.sleep(0.1)
        assert found["EndpointStatus"] == "InService", found["FailureReason"]


@pytest.fixture(scope="module")
def cloud(deploy_project, tmp_path_factory):
    client = importlib.import_module("sagemaker_emulator")
    with client.attach(state=tmp_path_factory.mktemp("cloud") / ".sagemaker_local") as local:
        yield Cloud(local)


def changed(built, code):
    """model.tar.gz with `code` at the end of its inference.py."""
    out = io.BytesIO()
    with (
        tarfile.open(built / "model/model.tar.gz") as old,
        tarfile.open(fileobj=out, mode="w:gz") as new,
    ):
        for member in old:
            content = old.extractfile(member).read() if member.isfile() else b""
            if member.name.endswith("inference.py"):
                content += f"\n\n{code}\n".encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out.getvalue()


def failed(result):
    return [check["Name"] for check in result["Checks"] if check["Status"] == "Failed"]


def test_p18_the_real_model_passes_on_a_real_endpoint(deploy, built, cloud, samples):
    cloud.serve("right", (built / "model/model.tar.gz").read_bytes())
    result = deploy.run_test(cloud.runtime, "right", samples, LIMITS, target_variant="AllTraffic")
    assert result["Status"] == "Passed", deploy.summary(result)
    assert result["Invocations"] == len(samples.samples) + LIMITS["Requests"]
    assert [found["Status"] for found in result["Malformed"]] == [
        request.status for request in samples.malformed
    ]
    assert result["Requests"]["Variants"] == {"AllTraffic": result["Invocations"]}


def test_p18_serverless_endpoint_is_woken_and_passes(deploy, built, cloud, samples):
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1}}
    cloud.serve("serverless", (built / "model/model.tar.gz").read_bytes(), **serverless)
    result = deploy.run_test(cloud.runtime, "serverless", samples, LIMITS, concurrency=1)
    assert result["Status"] == "Passed", deploy.summary(result)


@pytest.mark.parametrize("kind", BROKEN)
def test_p18_broken_model_fails_on_a_real_endpoint(deploy, built, cloud, samples, kind):
    code, check = BROKEN[kind]
    name = re.sub("[^a-z]+", "-", kind)
    cloud.serve(name, changed(built, code))
    result = deploy.run_test(cloud.runtime, name, samples, LIMITS)
    assert result["Status"] == "Failed"
    assert check in failed(result), deploy.summary(result)


def test_p18_asynchronous_endpoint_is_tested_through_s3(deploy, built, cloud, samples):
    output = {"S3OutputPath": "s3://bucket/out", "S3FailurePath": "s3://bucket/failed"}
    config = {"AsyncInferenceConfig": {"OutputConfig": output}}
    cloud.serve("async", (built / "model/model.tar.gz").read_bytes(), config=config)
    usage_error = importlib.import_module("sagemaker_project.usage").UsageError
    with pytest.raises(usage_error, match="async: InvokeEndpoint was refused: "):
        deploy.run_test(cloud.runtime, "async", samples, LIMITS)
    module = importlib.import_module("sagemaker_project.deploy.endpoint_test_async")
    runtime = module.AsyncRuntime(cloud.runtime, cloud.s3, "s3://bucket/in", poll_interval=0.02)
    result = deploy.run_test(runtime, "async", samples, LIMITS)
    assert result["Status"] == "Passed", deploy.summary(result)
    assert [found["Status"] for found in result["Malformed"]] == [
        request.status for request in samples.malformed
    ]
    assert cloud.s3.list_objects_v2(Bucket="bucket", Prefix="in/")["KeyCount"] == 0


def test_p19_samples_of_another_package_never_pass(deploy, built, cloud, samples):
    none = dataclasses.replace(samples, samples=())
    assert deploy.run_test(cloud.runtime, "right", none, LIMITS)["Status"] == "Inconclusive"


def test_endpoint_that_is_not_there_is_one_line(deploy, cloud, samples):
    usage_error = importlib.import_module("sagemaker_project.usage").UsageError
    with pytest.raises(usage_error, match="nowhere: InvokeEndpoint was refused: ") as raised:
        deploy.run_test(cloud.runtime, "nowhere", samples, LIMITS)
    assert "\n" not in str(raised.value)


def test_artifact_of_the_pipeline_may_be_deployed_and_a_changed_one_not(deploy, built):
    artifact = importlib.import_module("sagemaker_project.deploy.artifact")
    path = built / "model/model.tar.gz"
    provenance = json.loads((built / "evaluation/provenance.json").read_text())
    about = json.loads((built / "model-dir/model.json").read_text())
    sklearn = about["versions"]["scikit-learn"]
    sha256 = provenance["model"]["sha256"]
    assert artifact.check_artifact(path, sha256, sklearn) == sha256
    with pytest.raises(artifact.ArtifactError, match=sha256):
        artifact.check_artifact(io.BytesIO(changed(built, "pass")), sha256)
