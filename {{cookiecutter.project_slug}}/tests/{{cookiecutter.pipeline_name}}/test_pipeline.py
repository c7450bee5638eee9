"""The pipeline: its definition, and one whole run on this machine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import train
from sagemaker_project.build.get_pipeline_definition import get_definition

ROOT = Path(__file__).resolve().parents[2]
MODULE = "pipelines.{{cookiecutter.pipeline_name}}.pipeline"
ROLE = "arn:{{cookiecutter.__partition}}:iam::123456789012:role/service-role/MyExecutionRole"


@pytest.fixture(scope="module")
def definition():
    return get_definition(MODULE, {"role": ROLE})


@pytest.fixture(scope="module")
def steps(definition):
    return {step["Name"]: step for step in json.loads(definition)["Steps"]}


def test_the_same_sources_give_the_same_definition(definition):
    assert get_definition(MODULE, {"role": ROLE}) == definition


def test_only_a_model_that_every_gate_lets_pass_is_registered(steps, sample):
    *_, check = steps.values()
    threshold, gate = check["Arguments"]["Conditions"]
    assert threshold["LeftValue"]["Std:JsonGet"]["Path"] == sample.schema.metric_path
    assert threshold["RightValue"] == {"Get": f"Parameters.{sample.schema.metric.parameter}"}
    assert gate["LeftValue"]["Std:JsonGet"]["Path"] == "passed"
    assert [step["Type"] for step in check["Arguments"]["IfSteps"]] == ["RegisterModel"]
    assert [step["Type"] for step in check["Arguments"]["ElseSteps"]] == ["Fail"]


def test_every_job_is_cached_and_tried_again(steps):
    jobs = [step for step in steps.values() if step["Type"] in ("Processing", "Training")]
    assert len(jobs) == 3
    for job in jobs:
        assert job["CacheConfig"]["Enabled"]
        retried = {kind for policy in job["RetryPolicies"] for kind in policy["ExceptionType"]}
        assert {"Step.THROTTLING", "Step.SERVICE_FAULT", "SageMaker.CAPACITY_ERROR"} <= retried


def test_parameters_and_train_py_have_the_same_defaults(definition, steps):
    parameters = {
        parameter["Name"]: parameter["DefaultValue"]
        for parameter in json.loads(definition)["Parameters"]
    }
    [training] = [step for step in steps.values() if step["Type"] == "Training"]
    defaults = vars(train.parse([]))
    for name, value in training["Arguments"]["HyperParameters"].items():
        if not name.startswith("sagemaker_"):
            [parameter] = value["Std:Join"]["Values"] if "Std:Join" in value else [value]
            default = parameters[parameter["Get"].removeprefix("Parameters.")]
            assert defaults[name.replace("-", "_")] == default, name


def test_a_run_on_the_sample_registers_a_package(tmp_path, sample):
    metric = sample.schema.metric
    lax = -1e9 if metric.more_is_better else 1e300  # a threshold is for real data
    command = [sys.executable, "-m", "pipelines.run_pipeline", "--local", "-n", MODULE]
    done = subprocess.run(
        [*command, "--role-arn", ROLE, "--input-data", sample.path]
        + ["--parameters", f"{metric.parameter}={lax!r}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^{metric.name} \d", done.stdout, re.MULTILINE)
    assert re.search(r"^model package arn:\S+PackageGroup/1$", done.stdout, re.MULTILINE)
    [report] = (tmp_path / "reports").glob("*/report.html")
    assert "<svg" in report.read_text(encoding="utf-8")
