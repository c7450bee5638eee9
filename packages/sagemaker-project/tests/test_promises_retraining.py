"""P33: triggers of retraining that come in crowds start one execution: `run-pipeline --cooldown`.

The pipeline of these tests has one step and is made without the SDK; the command is the real one.
"""

import functools
import re
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from deploy_helpers import ROLE, environment, project_in
from sagemaker_emulator import testing as faults
from sagemaker_project.build import run, run_pipeline
from sagemaker_project.build.cooldown import time_of

MODULE = '''
import functools
import json
import os

import boto3
from botocore.exceptions import ClientError

PARAMETERS = [{"Name": "Mood", "Type": "String", "DefaultValue": "calm"}]
STEP = {"Name": "Nothing", "Type": "Condition", "Arguments": {
    "Conditions": [{"Type": "Equals", "LeftValue": 1, "RightValue": 1}], "IfSteps": [],
    "ElseSteps": []}}


def meet():
    """Called by each trigger after it has looked and before it starts anything."""


@functools.cache
def client(service):
    return boto3.Session().client(service)


class Session:
    @property
    def boto_session(self):
        return self

    def client(self, service, config=None):
        return client(service)


class Pipeline:
    sagemaker_session = Session()

    def __init__(self, name):
        self.name = name

    def definition(self):
        return json.dumps({"Version": "2020-12-01", "Parameters": PARAMETERS, "Steps": [STEP]})

    def upsert(self, role_arn, description, tags):
        meet()
        given = {"PipelineName": self.name, "PipelineDefinition": self.definition()}
        try:
            return client("sagemaker").create_pipeline(RoleArn=role_arn, **given)
        except ClientError:
            return client("sagemaker").update_pipeline(**given)


def get_pipeline(pipeline_name):
    return Pipeline(pipeline_name)
'''
COOLDOWN = 600
REAL_RUN = run.run


@pytest.fixture(scope="module")
def module(deploy_project):
    """The module of a pipeline in the generated project, which is importable meanwhile."""
    folder = deploy_project / "pipelines/crowd"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "pipeline.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(deploy_project)
        yield "pipelines.crowd.pipeline"


class Triggers:
    def __init__(self, cloud, project, module, patch):
        self.cloud, self.project, self.module, self.patch = cloud, project, module, patch
        self.name = f"crowd-{uuid.uuid4().hex[:8]}"

    def arguments(self, *words):
        kwargs = f'{{"pipeline_name": "{self.name}"}}'
        own = ["--module-name", self.module, "--role-arn", ROLE, "--kwargs", kwargs]
        return [*own, "--no-wait", *map(str, words)]

    def pull(self, *words):
        return run_pipeline.main(project_in(self.project), self.arguments(*words))

    def together(self, triggers):
        """Pull them all at once: each has looked for executions before the first starts one."""
        import pipelines.crowd.pipeline as module

        module.client("sagemaker")  # one for all, made once
        self.patch.setattr(module, "meet", threading.Barrier(len(triggers), timeout=60).wait)
        with ThreadPoolExecutor(len(triggers)) as pool:
            codes = list(pool.map(lambda words: self.pull(*words), triggers))
        self.patch.setattr(module, "meet", lambda: None)
        return codes

    def clock(self, *ahead):
        """AWS's clock: so many seconds ahead at one look, so many at the next."""
        looks, last = iter(ahead), ahead[-1]
        clocked = functools.partial(REAL_RUN, clock=lambda page: time_of(page) + next(looks, last))
        self.patch.setattr(run, "run", clocked)

    def executions(self):
        pages = self.cloud.sm.get_paginator("list_pipeline_executions")
        found = [
            item
            for page in pages.paginate(PipelineName=self.name)
            for item in page["PipelineExecutionSummaries"]
        ]
        return len(found)

    def starts(self):
        return [
            call["request"]
            for call in faults.calls(self.cloud.local)
            if call["operation"] == "StartPipelineExecution"
        ]


@pytest.fixture
def triggers(cloud, deploy_project, module, monkeypatch):
    for name, value in environment(cloud).items():
        monkeypatch.setenv(name, value)
    faults.clear_calls(cloud.local)
    yield Triggers(cloud, deploy_project, module, monkeypatch)
    faults.clear(cloud.local)


@pytest.mark.acceptance
def test_p33_a_hundred_triggers_at_once_start_one_execution(triggers, capsys):
    assert triggers.together([("--cooldown", COOLDOWN)] * 100) == [0] * 100
    assert triggers.executions() == 1
    started = re.findall(r"PipelineExecutionArn: (\S+)", capsys.readouterr().out)
    assert len(started) == 100 and len(set(started)) == 1
    tokens = {request["ClientRequestToken"] for request in triggers.starts()}
    assert len(tokens) == 1 and 32 <= len(tokens.pop()) <= 128


def test_p33_triggers_that_come_one_after_the_other_start_one_execution(triggers, capsys):
    for _ in range(5):
        assert triggers.pull("--cooldown", COOLDOWN) == 0
    assert triggers.executions() == 1
    said = capsys.readouterr().out
    assert len(re.findall(r"Nothing was started: arn:\S+ is \w+, started \d+ s ago", said)) == 4
    assert len(triggers.starts()) == 1


@pytest.mark.parametrize("window", [COOLDOWN, 86_400])
def test_p33_triggers_on_either_side_of_an_edge_start_one_execution(triggers, window):
    """Whatever their clocks say, those that saw the same last execution start the same next one."""
    triggers.pull("--cooldown", COOLDOWN)
    now = time.time()
    ahead = (now // window + 3) * window - now  # to where a window ends and the next begins
    triggers.clock(*[ahead - 2, ahead - 2, ahead + 2, ahead + 2] * 10)
    assert triggers.together([("--cooldown", COOLDOWN)] * 10) == [0] * 10
    assert triggers.executions() == 2


def test_p33_the_cooldown_counts_from_the_last_start(triggers):
    triggers.pull("--cooldown", COOLDOWN)
    triggers.clock(COOLDOWN - 5)
    triggers.pull("--cooldown", COOLDOWN)
    assert triggers.executions() == 1
    triggers.clock(COOLDOWN + 5)
    triggers.pull("--cooldown", COOLDOWN)
    assert triggers.executions() == 2


@pytest.mark.parametrize("ahead", [-COOLDOWN, 2 * COOLDOWN])
def test_p33_the_cooldown_is_counted_by_the_clock_of_aws(triggers, monkeypatch, ahead):
    triggers.pull("--cooldown", COOLDOWN)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    triggers.pull("--cooldown", COOLDOWN)
    assert triggers.executions() == 1
    triggers.clock(COOLDOWN + 5)
    triggers.pull("--cooldown", COOLDOWN)
    assert triggers.executions() == 2


@pytest.mark.parametrize("status", ["Executing", "Stopping"])
def test_p33_nothing_starts_while_an_execution_runs_however_long_it_takes(triggers, status, capsys):
    triggers.pull()
    [execution] = triggers.cloud.sm.list_pipeline_executions(PipelineName=triggers.name)[
        "PipelineExecutionSummaries"
    ]
    arn, long_ago = execution["PipelineExecutionArn"], execution["StartTime"].timestamp() - 86_400
    old = {"PipelineExecutionArn": arn, "StartTime": long_ago, "PipelineExecutionStatus": status}
    newer = {**old, "StartTime": long_ago + 3600, "PipelineExecutionStatus": "Succeeded"}
    members = {"PipelineExecutionSummaries": [newer, old]}
    faults.inject(
        triggers.cloud.local, "ListPipelineExecutions", "answer", times=None, members=members
    )
    assert triggers.pull("--cooldown", COOLDOWN) == 0
    faults.clear(triggers.cloud.local)
    assert f"Nothing was started: {arn} is {status}, started 864" in capsys.readouterr().out
    assert triggers.executions() == 1


def test_p33_a_trigger_with_other_parameters_at_the_same_moment_starts_nothing(triggers, capsys):
    moods = [("--cooldown", COOLDOWN, "--parameters", f"Mood={m}") for m in ("calm", "wild")]
    assert triggers.together(moods) == [0, 0]
    assert triggers.executions() == 1
    assert capsys.readouterr().out.count("Nothing was started") == 1


def test_p33_without_a_cooldown_each_run_is_an_execution(triggers):
    assert triggers.together([()] * 3) == [0] * 3
    assert triggers.executions() == 3
    assert len({request["ClientRequestToken"] for request in triggers.starts()}) == 3


def test_p33_a_failure_to_start_is_no_cooldown(triggers, capsys):
    faults.inject(triggers.cloud.local, "StartPipelineExecution", "denied")
    assert triggers.pull("--cooldown", COOLDOWN) == 1
    assert "StartPipelineExecution" in capsys.readouterr().err
    assert triggers.executions() == 0


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_p33_a_cooldown_is_a_number_of_seconds(triggers, value, capsys):
    with pytest.raises(SystemExit) as end:
        triggers.pull(f"--cooldown={value}")
    assert end.value.code == 2
    assert "--cooldown" in capsys.readouterr().err


def test_p33_processes_at_once_start_one_execution(triggers, deploy_project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(deploy_project))
    command = [sys.executable, "-m", "pipelines.run_pipeline"]
    running = [
        subprocess.Popen(
            [*command, *triggers.arguments("--cooldown", COOLDOWN)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    for process in running:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert triggers.executions() == 1
