"""Executions: order, parallelism, branches, failures, gates, caching, stopping."""

import json
import time
from functools import partial

import pytest
from botocore.exceptions import ClientError
from local_helpers import (
    IMAGE,
    ROLE,
    compare,
    condition,
    create,
    definition,
    fail,
    finish,
    get,
    join,
    json_get,
    parameter,
    processing,
    run,
    s3_input,
    s3_output,
    script,
    source,
    start,
    step,
    steps_of,
    training,
    unique,
    until,
    wait,
)
from sagemaker_emulator.api.sagemaker import SageMaker
from sagemaker_emulator.pipelines import operations
from sagemaker_emulator.pipelines.execution import Execution

OUT = "/opt/ml/processing/out"


def job(name, code, *arguments, outputs=(), inputs=(), **members):
    request = processing(code, *arguments, inputs=inputs, outputs=outputs)
    return step(name, "Processing", request, **members)


def output(*parts):
    execution = get("Execution.PipelineExecutionId")
    return s3_output("out", join("s3://bucket", execution, *parts, on="/"))


def ended(steps):
    return {name: item["StepStatus"] for name, item in steps.items()}


def register(group, model):
    container = {"Image": IMAGE, "ModelDataUrl": model}
    return step(
        "Register",
        "RegisterModel",
        {
            "ModelPackageGroupName": group,
            "ModelApprovalStatus": get("Parameters.Approval"),
            "CustomerMetadataProperties": {"mse": join(json_get("Evaluate", "Report", "m.mse"))},
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        },
    )


def abalone(cloud, group):
    """Prepare, train, evaluate, then register or fail: the pipeline this is all for."""
    cloud.put("abalone/raw.csv", "1\n2\n3\n")
    prepare = script(
        cloud,
        "import sys\nrows = open(sys.argv[1] + '/raw.csv').read()\n"
        "open(sys.argv[2] + '/train.csv', 'w').write(rows)\n",
    )
    train = source(
        cloud,
        train="import os\nrows = open(os.environ['SM_CHANNEL_TRAIN'] + '/train.csv').readlines()\n"
        "open(os.environ['SM_MODEL_DIR'] + '/model.txt', 'w').write(str(len(rows)))\n"
        "print('loss=0.5')\n",
    )
    evaluate = script(
        cloud,
        "import json, sys, tarfile\n"
        "tar = tarfile.open(sys.argv[1] + '/model.tar.gz')\n"
        "mse = float(tar.extractfile('model.txt').read())\n"
        "json.dump({'m': {'mse': mse}}, open(sys.argv[2] + '/evaluation.json', 'w'))\n",
    )
    trained = get("Steps.Train.ModelArtifacts.S3ModelArtifacts")
    prepared = get("Steps.Prepare.ProcessingOutputConfig.Outputs['out'].S3Output.S3Uri")
    report = {"PropertyFileName": "Report", "OutputName": "out", "FilePath": "evaluation.json"}
    mse, most = json_get("Evaluate", "Report", "m.mse"), get("Parameters.Max")
    return definition(
        job(
            "Prepare",
            prepare,
            "/opt/ml/processing/in",
            OUT,
            inputs=[s3_input("in", get("Parameters.Data"), "in")],
            outputs=[output("prepared")],
        ),
        step("Train", "Training", training(train, [("train", prepared)])),
        job(
            "Evaluate",
            evaluate,
            "/opt/ml/processing/in",
            OUT,
            inputs=[s3_input("in", trained, "in")],
            outputs=[output("evaluated")],
            PropertyFiles=[report],
            DisplayName="Evaluate it",
        ),
        condition(
            "Check",
            [
                compare(
                    "LessThanOrEqualTo",
                    json_get("Evaluate", "Report", "m.mse"),
                    get("Parameters.Max"),
                )
            ],
            [register(group, trained)],
            [fail("TooBad", join("mse", mse, ">", most, on=" "))],
        ),
        parameters=[
            parameter("Data", "String", "s3://bucket/abalone/raw.csv"),
            parameter("Max", "Float", 6.0),
            parameter("Approval", "String", "PendingManualApproval"),
        ],
    )


def test_a_model_is_trained_evaluated_and_registered(cloud):
    group = unique("Prices")
    execution, steps = run(cloud, abalone(cloud, group))
    assert execution["PipelineExecutionStatus"] == "Succeeded", steps
    assert ended(steps) == dict.fromkeys(
        ["Prepare", "Train", "Evaluate", "Check", "Register"], "Succeeded"
    )
    assert steps["Check"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    assert steps["Evaluate"]["StepDisplayName"] == "Evaluate it"
    arn = steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
    package = cloud.sm.describe_model_package(ModelPackageName=arn)
    assert package["CustomerMetadataProperties"] == {"mse": "3.0"}
    model = package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
    assert cloud.get(model.removeprefix("s3://bucket/"))
    name = steps["Train"]["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2]
    assert name.startswith(f"pipelines-{execution['PipelineExecutionArn'][-12:]}-Train-")
    trained = cloud.sm.describe_training_job(TrainingJobName=name)
    assert trained["ModelArtifacts"]["S3ModelArtifacts"] == model
    parameters = cloud.sm.list_pipeline_parameters_for_execution(
        PipelineExecutionArn=execution["PipelineExecutionArn"]
    )["PipelineParameters"]
    assert {"Name": "Max", "Value": "6.0"} in parameters


def test_a_model_that_is_too_bad_ends_in_the_fail_step(cloud):
    group = unique("Prices")
    execution, steps = run(cloud, abalone(cloud, group), Max="0.1")
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert execution["FailureReason"] == "Step failure: One or multiple steps failed."
    assert steps["TooBad"]["StepStatus"] == "Failed"
    assert steps["TooBad"]["Metadata"]["Fail"]["ErrorMessage"] == "mse 3.0 > 0.1"
    assert steps["Check"]["Metadata"] == {"Condition": {"Outcome": "False"}}
    assert "Register" not in steps
    with pytest.raises(ClientError):
        cloud.sm.describe_model_package_group(ModelPackageGroupName=group)


MEET = (
    "import os, pathlib, sys, time\n"
    "here, other = map(pathlib.Path, sys.argv[1:3])\n"
    "here.touch()\n"
    "end = time.monotonic() + 10\n"
    "while not other.exists():\n"
    "    assert time.monotonic() < end, 'ran alone'\n"
    "    time.sleep(0.01)\n"
)


def test_independent_steps_run_at_the_same_time(cloud, tmp_path):
    code = script(cloud, MEET)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    execution, _ = run(cloud, definition(job("A", code, a, b), job("B", code, b, a)))
    assert execution["PipelineExecutionStatus"] == "Succeeded"


def test_no_more_steps_run_at_the_same_time_than_allowed(cloud):
    code = script(cloud, "pass")
    document = definition(*(job(name, code) for name in "ABC"))
    name = create(cloud, document, ParallelismConfiguration={"MaxParallelExecutionSteps": 1})
    steps = sorted(start_and_finish(cloud, name).values(), key=lambda step: step["StartTime"])
    assert len(steps) == 3
    for earlier, later in zip(steps, steps[1:], strict=False):
        assert earlier["EndTime"] <= later["StartTime"]


def test_after_a_failure_nothing_new_starts_and_what_runs_may_end(cloud, tmp_path):
    failed = tmp_path / "failed"
    code = f"import os, time\nwhile not os.path.exists({str(failed)!r}):\n    time.sleep(0.01)\n"
    slow = script(cloud, code)
    document = definition(
        job("Slow", slow),
        job("Bad", script(cloud, "raise ValueError('row 7')")),
        job("Never", slow, DependsOn=["Bad"]),
        job("NeverEither", slow, DependsOn=["Slow"]),
    )
    arn = start(cloud, create(cloud, document))
    until(lambda: ended(steps_of(cloud, arn)).get("Bad") == "Failed")
    failed.touch()
    assert finish(cloud, arn)["PipelineExecutionStatus"] == "Failed"
    steps = steps_of(cloud, arn)
    assert ended(steps) == {"Slow": "Succeeded", "Bad": "Failed"}
    assert steps["Bad"]["FailureReason"] == (
        "ClientError: AlgorithmError: See job logs for more information, exit code: 1:"
        " ValueError: row 7"
    )


def test_branches_nest_and_what_waits_for_a_skipped_step_is_skipped(cloud):
    true, false = compare("Equals", 1, 1), compare("Equals", 1, 2)
    code = script(cloud, "pass")
    execution, steps = run(
        cloud,
        definition(
            condition(
                "Outer",
                [true],
                [condition("Inner", [true, false], [job("Both", code)], [job("NotBoth", code)])],
                [job("NotOuter", code)],
            ),
            job("AfterSkipped", code, DependsOn=["NotOuter"]),
            job("AfterTaken", code, DependsOn=["NotBoth"]),
        ),
    )
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert set(steps) == {"Outer", "Inner", "NotBoth", "AfterTaken"}


@pytest.mark.parametrize(
    "content, words",
    [
        ("'{\"m\": {}}'", ["m.mse", "Report"]),
        ('\'{"m": {"mse": NaN}}\'', ["m.mse", "nan"]),
        ('\'{"m": {"mse": "low"}}\'', ["m.mse", '"low"', "not a number"]),
        ('\'{"m": {"mse": null}}\'', ["m.mse", "null"]),
        ("'mse=1'", ["evaluation.json", "not JSON"]),
        ("None", ["evaluation.json", "wrote no"]),
    ],
)
def test_a_gate_fails_with_the_path_where_there_is_no_number(cloud, content, words):
    code = script(
        cloud,
        f"import sys\ntext = {content}\n"
        "text and open(sys.argv[1] + '/evaluation.json', 'w').write(text)\n",
    )
    report = {"PropertyFileName": "Report", "OutputName": "out", "FilePath": "evaluation.json"}
    question = compare("LessThan", json_get("Evaluate", "Report", "m.mse"), 6)
    execution, steps = run(
        cloud,
        definition(
            job("Evaluate", code, OUT, outputs=[output("e")], PropertyFiles=[report]),
            condition("Check", [question], [fail("Yes", "y")], [fail("No", "n")]),
        ),
    )
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert ended(steps) == {"Evaluate": "Succeeded", "Check": "Failed"}
    reason = steps["Check"]["FailureReason"]
    assert all(word in reason for word in words), reason


def test_a_step_whose_arguments_are_refused_says_which(cloud):
    broken = job("Bad", script(cloud, "pass"))
    broken["Arguments"]["Environment"] = {"N": get("Parameters.N")}
    _, steps = run(cloud, definition(broken, parameters=[parameter("N", "Integer", 5)]))
    assert "Failed to invoke sagemaker:CreateProcessingJob" in steps["Bad"]["FailureReason"]
    assert "environment.N" in steps["Bad"]["FailureReason"]


def test_an_earlier_result_is_taken_over(cloud):
    counted = (
        "import json, sys, time\n"
        "json.dump({'at': time.time()}, open(sys.argv[1] + '/r.json', 'w'))\n"
    )
    report = {"PropertyFileName": "R", "OutputName": "out", "FilePath": "r.json"}
    cache = {"Enabled": True, "ExpireAfter": "PT1H"}
    first = job(
        "First",
        script(cloud, counted),
        OUT,
        outputs=[output("first")],
        PropertyFiles=[report],
        CacheConfig=cache,
    )
    first["Arguments"]["Environment"] = {"WHICH": get("Parameters.Which")}
    question = compare("GreaterThan", json_get("First", "R", "at"), 0)
    name = create(
        cloud,
        definition(
            first,
            condition("Check", [question]),
            parameters=[parameter("Which", "String", "a")],
        ),
    )
    one, two, other = (start_and_finish(cloud, name, Which=which) for which in "aab")
    assert "CacheHitResult" not in one["First"] and "CacheHitResult" not in other["First"]
    arn = one["First"]["Metadata"]["ProcessingJob"]["Arn"]
    assert two["First"]["Metadata"]["ProcessingJob"]["Arn"] == arn
    assert other["First"]["Metadata"]["ProcessingJob"]["Arn"] != arn
    hit = two["First"]["CacheHitResult"]["SourcePipelineExecutionArn"]
    assert hit.startswith("arn:aws:sagemaker:") and f"/{name}/execution/" in hit
    assert two["Check"]["Metadata"]["Condition"]["Outcome"] == "True"
    third = start_and_finish(cloud, name, Which="a")
    assert third["First"]["CacheHitResult"]["SourcePipelineExecutionArn"] == hit


def start_and_finish(cloud, name, **values):
    arn = start(cloud, name, **values)
    finish(cloud, arn)
    return steps_of(cloud, arn)


@pytest.mark.parametrize("seconds, taken_over", [(3590, True), (3610, False)])
def test_a_result_is_taken_over_until_it_is_too_old(tmp_path, monkeypatch, seconds, taken_over):
    def call(operation, **request):
        return sagemaker.call(operation, request, "us-east-1")

    def step_of(token):
        arn = call("StartPipelineExecution", PipelineName="p", ClientRequestToken=token * 32)
        wait(lambda: call("DescribePipelineExecution", **arn), "PipelineExecutionStatus")
        (found,) = call("ListPipelineExecutionSteps", **arn)["PipelineExecutionSteps"]
        assert found["StepStatus"] == "Succeeded", found
        return found

    sagemaker = SageMaker(tmp_path)  # in this process, and its job has no files in S3
    request = processing("", ProcessingInputs=[])
    request["AppSpecification"]["ContainerEntrypoint"] = ["python3", "-c", "pass"]
    cache = {"Enabled": True, "ExpireAfter": "PT1H"}
    document = json.dumps(definition(step("A", "Processing", request, CacheConfig=cache)))
    token = {"ClientRequestToken": "x" * 32}
    call("CreatePipeline", PipelineName="p", RoleArn=ROLE, PipelineDefinition=document, **token)
    assert "CacheHitResult" not in step_of("a")
    later = partial(Execution, clock=lambda: time.time() + seconds)
    monkeypatch.setattr(operations, "Execution", later)
    assert ("CacheHitResult" in step_of("b")) == taken_over


def test_an_execution_is_stopped(cloud):
    code = script(cloud, "import time; time.sleep(60)")
    name = create(cloud, definition(job("A", code), job("B", code, DependsOn=["A"])))
    arn = start(cloud, name)
    until(lambda: steps_of(cloud, arn))
    cloud.sm.stop_pipeline_execution(PipelineExecutionArn=arn)
    assert finish(cloud, arn)["PipelineExecutionStatus"] == "Stopped"
    assert ended(steps_of(cloud, arn)) == {"A": "Stopped"}
    with pytest.raises(ClientError, match="ConflictException"):
        cloud.sm.stop_pipeline_execution(PipelineExecutionArn=arn)


def test_the_same_token_starts_one_execution(cloud):
    name = create(cloud, definition(fail("A", "x")))
    token = "t" * 32
    arns = {
        cloud.sm.start_pipeline_execution(PipelineName=name, ClientRequestToken=token)[
            "PipelineExecutionArn"
        ]
        for _ in range(2)
    }
    assert len(arns) == 1
    listed = cloud.sm.list_pipeline_executions(PipelineName=name)
    assert len(listed["PipelineExecutionSummaries"]) == 1


def test_an_execution_is_of_the_version_that_is_asked_for_or_the_latest(cloud):
    name = create(cloud, definition(fail("A", "first")))
    second = json.dumps(definition(fail("A", "second")))
    updated = cloud.sm.update_pipeline(PipelineName=name, PipelineDefinition=second)
    assert updated["PipelineVersionId"] == 2
    for version, message in ((None, "second"), (1, "first"), (2, "second")):
        asked = {"PipelineVersionId": version} if version else {}
        described = cloud.sm.describe_pipeline(PipelineName=name, **asked)
        assert message in described["PipelineDefinition"]
        started = cloud.sm.start_pipeline_execution(PipelineName=name, **asked)
        arn = started["PipelineExecutionArn"]
        assert finish(cloud, arn)["PipelineVersionId"] == (version or 2)
        assert steps_of(cloud, arn)["A"]["Metadata"]["Fail"]["ErrorMessage"] == message
    for operation in (cloud.sm.start_pipeline_execution, cloud.sm.describe_pipeline):
        with pytest.raises(ClientError, match="ResourceNotFound.* has no version 3"):
            operation(PipelineName=name, PipelineVersionId=3)
    cloud.sm.delete_pipeline(PipelineName=name)
    create(cloud, definition(fail("A", "x")), name)
    cloud.sm.update_pipeline(PipelineName=name)


@pytest.mark.parametrize("values", [{"Nope": "1"}, {"N": "x"}, {}])
def test_parameters_are_checked_at_the_start(cloud, values):
    document = definition(fail("A", "x"), parameters=[parameter("N", "Integer")])
    name = create(cloud, document)
    with pytest.raises(ClientError, match="ValidationException"):
        start(cloud, name, **values)
    assert not cloud.sm.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]


def test_executions_keep_their_definition_and_go_with_their_pipeline(cloud):
    name = create(cloud, definition(fail("A", "first")))
    arn = start(cloud, name)
    finish(cloud, arn)
    changed = json.dumps(definition(fail("A", "second")))
    cloud.sm.update_pipeline(PipelineName=name, PipelineDefinition=changed)
    kept = cloud.sm.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    assert "first" in kept["PipelineDefinition"]
    cloud.sm.delete_pipeline(PipelineName=name)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloud.sm.describe_pipeline_execution(PipelineExecutionArn=arn)


def test_a_model_step_makes_a_model(cloud):
    role = "arn:aws:iam::123456789012:role/anybody"
    arguments = {"ExecutionRoleArn": role, "PrimaryContainer": {"Image": IMAGE}}
    _, steps = run(cloud, definition(step("Make", "Model", arguments)))
    name = steps["Make"]["Metadata"]["Model"]["Arn"].rpartition("/")[2]
    assert cloud.sm.describe_model(ModelName=name)["ModelName"] == name
