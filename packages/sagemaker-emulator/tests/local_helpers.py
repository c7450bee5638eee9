"""Short forms of clients, requests and definitions for a local SageMaker; waiting for an end."""

import io
import json
import tarfile
import time
import uuid

import boto3
from botocore.config import Config

ROLE = "arn:aws:iam::123456789012:role/anybody"
IMAGE = "246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-scikit-learn:1.4-2"
METRICS = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]


class Cloud:
    """The clients of one server, and what most tests do with them."""

    def __init__(self, local):
        self.local = local
        self.url = local.url
        self.sm = self.client("sagemaker")
        self.s3 = self.client("s3")

    def client(self, service, region="us-east-1", access_key="local", **config):
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=access_key,
            aws_secret_access_key="local",
            aws_session_token=self.local.secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    @property
    def token(self):
        """The header with the secret, for a request that boto3 does not make."""
        return {"X-Amz-Security-Token": self.local.secret}

    def put(self, key, body):
        self.s3.put_object(Bucket="bucket", Key=key, Body=body)

    def get(self, key):
        return self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def script(cloud, text):
    """The S3 URI of a new script."""
    key = f"code/{uuid.uuid4().hex}/run.py"
    cloud.put(key, text)
    return f"s3://bucket/{key}"


def source(cloud, **files):
    """The S3 URI of a new sourcedir.tar.gz: source(cloud, train="print(1)")."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{name}.py")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    key = f"code/{uuid.uuid4().hex}/sourcedir.tar.gz"
    cloud.put(key, buffer.getvalue())
    return f"s3://bucket/{key}"


def s3_input(name, uri, path):
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"/opt/ml/processing/{path}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        },
    }


def s3_output(name, uri):
    path = f"/opt/ml/processing/{name}"
    return {
        "OutputName": name,
        "S3Output": {"S3Uri": uri, "LocalPath": path, "S3UploadMode": "EndOfJob"},
    }


def processing(code, *arguments, inputs=(), outputs=(), seconds=60, **members):
    """A processing job's request without its name."""
    return {
        "RoleArn": ROLE,
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": "ml.m5.large",
                "VolumeSizeInGB": 30,
            }
        },
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/run.py"],
            **({"ContainerArguments": list(arguments)} if arguments else {}),
        },
        "ProcessingInputs": [s3_input("code", code, "input/code"), *inputs],
        "ProcessingOutputConfig": {"Outputs": list(outputs)},
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
        **members,
    }


def training(code, channels=(), seconds=60, program="train.py", **hyperparameters):
    """A training job's request without its name, in script mode."""
    return {
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": METRICS,
        },
        "HyperParameters": {
            "sagemaker_program": program,
            "sagemaker_submit_directory": code,
            **{name.replace("_", "-"): value for name, value in hyperparameters.items()},
        },
        **({"InputDataConfig": [channel(*c) for c in channels]} if channels else {}),
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {
            "InstanceCount": 1,
            "InstanceType": "ml.m5.large",
            "VolumeSizeInGB": 30,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
    }


def channel(name, uri):
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    return {"ChannelName": name, "DataSource": source}


def run_job(cloud, request, name=None):
    """Create a job of either kind, wait for its end, describe it."""
    kind = "processing" if "AppSpecification" in request else "training"
    name = name or unique(kind)
    member = f"{kind.capitalize()}JobName"
    getattr(cloud.sm, f"create_{kind}_job")(**{member: name}, **request)
    return wait(lambda: describe_job(cloud, kind, name), f"{kind.capitalize()}JobStatus")


def describe_job(cloud, kind, name):
    member = f"{kind.capitalize()}JobName"
    return getattr(cloud.sm, f"describe_{kind}_job")(**{member: name})


def wait(describe, member, going=("InProgress", "Stopping", "Executing"), seconds=20):
    deadline = time.monotonic() + seconds
    while (found := describe())[member] in going:
        assert time.monotonic() < deadline, f"still {found[member]}: {found}"
        time.sleep(0.02)
    return found


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.02)
    return result


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Definitions


def get(path):
    return {"Get": path}


def join(*values, on=""):
    return {"Std:Join": {"On": on, "Values": list(values)}}


def json_get(step, file, path):
    reference = get(f"Steps.{step}.PropertyFiles.{file}")
    return {"Std:JsonGet": {"PropertyFile": reference, "Path": path}}


def step(name, kind, arguments, **members):
    return {"Name": name, "Type": kind, "Arguments": arguments, **members}


def fail(name, message, **members):
    return step(name, "Fail", {"ErrorMessage": message}, **members)


def condition(name, conditions, then=(), otherwise=(), **members):
    arguments = {"Conditions": conditions, "IfSteps": list(then), "ElseSteps": list(otherwise)}
    return step(name, "Condition", arguments, **members)


def compare(kind, left, right):
    return {"Type": kind, "LeftValue": left, "RightValue": right}


def definition(*steps, parameters=()):
    return {"Version": "2020-12-01", "Parameters": list(parameters), "Steps": list(steps)}


def parameter(name, kind, default=None, **members):
    default = {} if default is None else {"DefaultValue": default}
    return {"Name": name, "Type": kind, **default, **members}


def create(cloud, document, name=None, **members):
    name = name or unique("pipeline")
    cloud.sm.create_pipeline(
        PipelineName=name,
        RoleArn=ROLE,
        PipelineDefinition=document if isinstance(document, str) else json.dumps(document),
        **members,
    )
    return name


def start(cloud, name, **values):
    return cloud.sm.start_pipeline_execution(
        PipelineName=name,
        PipelineParameters=[{"Name": n, "Value": v} for n, v in values.items()],
    )["PipelineExecutionArn"]


def finish(cloud, arn):
    return wait(
        lambda: cloud.sm.describe_pipeline_execution(PipelineExecutionArn=arn),
        "PipelineExecutionStatus",
    )


def steps_of(cloud, arn):
    listed = cloud.sm.list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
    return {item["StepName"]: item for item in listed["PipelineExecutionSteps"]}


def run(cloud, document, **values):
    """Create and run a pipeline: (its execution, its steps by name)."""
    arn = start(cloud, create(cloud, document), **values)
    return finish(cloud, arn), steps_of(cloud, arn)
