"""A local SageMaker per test module, reached through unmodified boto3."""

import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

sys.dont_write_bytecode = False
PROJECT = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(PROJECT))

from sagemaker_local import client as local_client  # noqa: E402


class Cloud:
    """The clients of one server, and the few things that most tests do with them."""

    def __init__(self, local):
        self.local = local
        self.url = local.url
        self.sm = self.client("sagemaker")
        self.s3 = self.client("s3")

    def client(self, service, region="us-east-1", **config):
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def put(self, key, body):
        self.s3.put_object(Bucket="bucket", Key=key, Body=body)

    def get(self, key):
        return self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("project") / ".sagemaker_local"


@pytest.fixture(scope="module")
def cloud(state):
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        yield cloud
