"""Any table in a generated project: schema.json alone changes, and everything after it works."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import numpy as np
import pytest
import tables
from deploy_helpers import COMMANDS, some
from sagemaker_emulator import attach
from sagemaker_project.tabular.client import csv_body, csv_row, records
from sagemaker_project.tabular.reading import find_files, read_table
from sagemaker_project.tabular.schema import read_schema

SCHEMA = "pipelines/abalone/schema.json"
ROLE = "arn:aws:iam::123456789012:role/local"
ROWS = 60  # of the table, sent to prod
TEN = {make.__name__: (make,) for make in tables.TABLES}


class Repository:
    """A generated project, and its commands as people type them."""

    def __init__(self, path, scripts):
        self.path, self.scripts = path, scripts
        scripts.mkdir()
        for name, module in COMMANDS.items():
            (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            (scripts / name).chmod(0o755)
        inspect = Path(sys.executable).with_name("inspect-data")
        (scripts / "inspect-data").symlink_to(inspect)
        self.env = {
            **{"HOME": str(scripts), "PYTHONPATH": str(path)},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "MODEL_EXECUTION_ROLE_ARN": ROLE,
            "SAGEMAKER_LOCAL_SPEED": "600",
            # Threads of a training that wait for each other spin, where others want the CPU too.
            "OMP_NUM_THREADS": "1",
        }

    def run(self, command, *words):
        """Run a command, which must succeed; return its stdout."""
        done = subprocess.run(
            [str(self.scripts / command) if command in os.listdir(self.scripts) else command]
            + [str(word) for word in words],
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def git(self, *words):
        return self.run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words)

    def take(self, made):
        """Write and commit the schema.json of a table."""
        words = ["--label", made.label, "--yes", "--output", SCHEMA]
        self.run("inspect-data", made.data, *words)
        self.git("commit", "--quiet", "--all", "--message", "Describe my table")

    def deploy(self, command, *words):
        return self.run("deploy-model", command, "--local", *words)


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


@pytest.mark.acceptance
@pytest.mark.parametrize("make", some(TEN))
def test_the_projects_own_tests_pass_with_a_table(repository, tmp_path, make):
    repository.take(make(tmp_path))
    repository.run(sys.executable, "-m", "pytest", "-q")


@pytest.mark.acceptance
@pytest.mark.first
@pytest.mark.parametrize("make", some(TEN))
def test_the_demo_passes_with_a_table(make_project, tmp_path, make):
    repository = Repository(make_project().path, tmp_path / "bin")
    repository.take(make(tmp_path))
    out = repository.run("sagemaker-project", "demo")
    assert [int(n) for n in re.findall(r"answered, (\d+) failed", out)][0] == 0
