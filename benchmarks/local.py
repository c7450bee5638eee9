"""A running emulator of a generated project, and what benchmarks put into it."""

import contextlib
import io
import subprocess
import tarfile
import time

import boto3
from measure import PYTHON

REGION = "us-east-1"
BUCKET = "sagemaker-us-east-1-123456789012"
SPEED = 60
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
SERVING = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
}


class Local:
    def __init__(self, exported):
        self.url = url = exported["AWS_ENDPOINT_URL"]
        self.keys = {name: exported[name] for name in KEYS}
        self.port = int(url.rpartition(":")[2])
        self.sagemaker, self.s3 = self.client("sagemaker"), self.client("s3")

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.keys["AWS_SESSION_TOKEN"],
        )

    def serve(self, name, model_folder, role, instances, **members):
        """Create an endpoint of the model in a folder, and wait until it serves."""
        with contextlib.suppress(self.s3.exceptions.BucketAlreadyOwnedByYou):
            self.s3.create_bucket(Bucket=BUCKET)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            tar.add(model_folder, arcname=".")
        self.s3.put_object(Bucket=BUCKET, Key=f"{name}/model.tar.gz", Body=buffer.getvalue())
        container = {
            "Image": IMAGE,
            "ModelDataUrl": f"s3://{BUCKET}/{name}/model.tar.gz",
            "Environment": SERVING,
        }
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": instances,
        }
        self.sagemaker.create_model(
            ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role
        )
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant], **members
        )
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        while (found := self.sagemaker.describe_endpoint(EndpointName=name)) and (
            found["EndpointStatus"] == "Creating"
        ):
            time.sleep(0.1)
        if found["EndpointStatus"] != "InService":
            raise SystemExit(f"bench: {name}: {found.get('FailureReason')}")


@contextlib.contextmanager
def running(bench):
    """The project's server, as `deploy-model --local` would join it."""
    command = [PYTHON, "-m", "sagemaker_emulator", "up", "--speed", str(SPEED), "--region", REGION]
    process = subprocess.Popen(
        command,
        cwd=bench.project,
        env=bench.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        exports = [process.stdout.readline().split()[1:] for _ in range(2)]
        yield Local(dict(word.split("=", 1) for words in exports for word in words))
    finally:
        process.terminate()
        process.wait(60)
