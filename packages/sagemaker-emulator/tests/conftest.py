"""A local SageMaker per test module, reached through unmodified boto3."""

import pytest
from local_helpers import Cloud
from sagemaker_emulator import client as local_client


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("project") / ".sagemaker_local"


@pytest.fixture(scope="module")
def cloud(state):
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        yield cloud
