"""Any table in a generated project: schema.json alone changes, and it gets to prod."""

import json
import re
import shutil

import boto3
import numpy as np
import pytest
from any_table_helpers import ROLE, SCHEMA, TEN, Repository
from deploy_helpers import some
from sagemaker_emulator import attach
from sagemaker_project.tabular.client import csv_body, csv_row, records
from sagemaker_project.tabular.reading import find_files, read_table
from sagemaker_project.tabular.schema import read_schema

ROWS = 60  # of the table, sent to prod


@pytest.fixture(scope="module")
def repository(make_project, tmp_path_factory):
    project = make_project().path
    settings = project / "deploy/staging-config.json"  # the machine of a test may be busy
    lax = {"Requests": 20, "MaxP50Milliseconds": 10_000, "MaxP99Milliseconds": 20_000}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"EndpointTest": lax}))
    repository = Repository(project, tmp_path_factory.mktemp("commands") / "bin")
    repository.git("commit", "--quiet", "--all", "--message", "Be patient")
    repository.git("tag", "generated")
    return repository


@pytest.fixture
def server(repository):
    """A server of the project in which nothing is deployed; the commands join it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", repository.env["SAGEMAKER_LOCAL_SPEED"])
        with attach(repository.path) as local:
            yield local
    shutil.rmtree(local.state)


@pytest.mark.parametrize("make", some(TEN, "text_binary", "dated_multiclass"))
def test_a_table_goes_from_its_file_to_prod(repository, server, tmp_path, make):
    made = make(tmp_path)
    repository.take(made)
    module = ["--module-name", "pipelines.abalone.pipeline", "--role-arn", ROLE]
    out = repository.run("run-pipeline", "--local", *module, "--input-data", made.data)
    [package] = re.findall(r"^model package (\S+)$", out, re.MULTILINE)
    repository.deploy("approve", package, "--reason", "its metrics are good")
    repository.deploy("promote", "--stage", "staging", "--model-package-arn", package)
    assert "Passed" in repository.deploy("test", "--stage", "staging")
    repository.deploy("promote", "--stage", "prod", "--model-package-arn", package)
    assert repository.git("diff", "--name-only", "generated").split() == [SCHEMA]
    assert repository.git("status", "--short") == ""
    check_answers(repository, server, made)


def check_answers(repository, server, made):
    """Send rows of the table to prod: the answers say something of the labels."""
    schema = read_schema((repository.path / SCHEMA).read_bytes())
    table = read_table(find_files(made.data, schema), schema).table.take(slice(0, ROWS))
    rows = [csv_row(record, schema.features) for record in records(table, schema.features)]
    runtime = boto3.client(
        "sagemaker-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        aws_session_token=server.secret,
    )
    answer = runtime.invoke_endpoint(
        EndpointName="abalone-prod", Body=csv_body(rows), ContentType="text/csv"
    )
    predictions = json.loads(answer["Body"].read())["predictions"]
    assert len(predictions) == ROWS
    if made.problem == "regression":
        assert np.corrcoef(predictions, table.columns[made.label])[0, 1] > 0.4
        return
    label = table.columns[made.label]
    texts = label.texts if hasattr(label, "texts") else [f"{value:.0f}" for value in label]
    given = [one["probabilities"][text] for one, text in zip(predictions, texts, strict=True)]
    assert np.mean(given) > 1.2 / len(predictions[0]["probabilities"])
