"""Models without a library in them, endpoints that serve them, and waiting for their states."""

import io
import tarfile
import uuid

from local_helpers import IMAGE, ROLE, unique, until

INFERENCE = """
import json, os
{before}
def model_fn(folder):
    return {answer!r}

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    if b"fail" in (data if isinstance(data, bytes) else data.encode()):
        raise ValueError("asked to fail")
    return model

def output_fn(prediction, accept):
    return prediction, "text/plain"
{after}
"""
SCRIPT = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
}
BROKEN = "raise RuntimeError('this model is broken')"


def artifact(cloud, answer="one", before="", after=""):
    """The S3 URI of a new model.tar.gz, whose model always answers the same."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        text = INFERENCE.format(answer=answer, before=before, after=after).encode()
        info = tarfile.TarInfo("code/inference.py")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    key = f"models/{uuid.uuid4().hex}/model.tar.gz"
    cloud.put(key, buffer.getvalue())
    return f"s3://bucket/{key}"


def model(cloud, answer="one", before="", after="", **container):
    name = unique("model")
    url = artifact(cloud, answer, before, after)
    container = {"Image": IMAGE, "ModelDataUrl": url, "Environment": SCRIPT} | container
    cloud.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    return name


def variant(model_name, name="AllTraffic", count=1, weight=1.0, **members):
    return {
        "VariantName": name,
        "ModelName": model_name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": count,
        "InitialVariantWeight": weight,
    } | members


def config(cloud, *variants, **members):
    name = unique("config")
    cloud.sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=list(variants), **members
    )
    return name


def simple(cloud, answer="one", before="", count=1, **members):
    """A new configuration with one variant."""
    return config(cloud, variant(model(cloud, answer, before), count=count), **members)


def endpoint(cloud, config_name, wait=True, **members):
    name = unique("endpoint")
    cloud.sm.create_endpoint(EndpointName=name, EndpointConfigName=config_name, **members)
    return settled(cloud, name) if wait else name


def describe(cloud, name):
    return cloud.sm.describe_endpoint(EndpointName=name)


def reach(cloud, name, *states, seconds=30):
    """Wait for one of these states; the description then."""

    def there():
        found = describe(cloud, name)
        return found if found["EndpointStatus"] in states else None

    return until(there, seconds)


def settled(cloud, name, seconds=30):
    return reach(cloud, name, "InService", "Failed", "UpdateRollbackFailed", seconds=seconds)


def invoke(cloud, name, body=b"x", **members):
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, Body=body, ContentType="text/csv", **members
    )
    return answer["Body"].read().decode()
