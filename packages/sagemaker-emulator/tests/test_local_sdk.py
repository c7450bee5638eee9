"""SageMaker Python SDK V3, unmodified: its typed resources, its pipeline, its own definition."""

import os

import pytest
from local_helpers import IMAGE, ROLE, script, source


@pytest.fixture(scope="module", autouse=True)
def pointed_here(cloud):
    """The SDK reads the environment, and wants a region at its very import."""
    before = dict(os.environ)
    cloud.local.enter(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def session(cloud):
    from sagemaker.core.workflow.pipeline_context import PipelineSession

    return PipelineSession(default_bucket="bucket")


def processing_step(session, name, code, outputs, property_files=(), inputs=()):
    from sagemaker.core.processing import Processor
    from sagemaker.core.shapes import (
        ProcessingInput,
        ProcessingOutput,
        ProcessingS3Input,
        ProcessingS3Output,
    )
    from sagemaker.mlops.workflow.steps import ProcessingStep

    def entered(name, uri, path):
        s3 = ProcessingS3Input(
            s3_uri=uri,
            local_path=f"/opt/ml/processing/{path}",
            s3_data_type="S3Prefix",
            s3_input_mode="File",
        )
        return ProcessingInput(input_name=name, s3_input=s3)

    def left(name):
        s3 = ProcessingS3Output(
            s3_uri=f"s3://bucket/sdk/{name}",
            local_path=f"/opt/ml/processing/{name}",
            s3_upload_mode="EndOfJob",
        )
        return ProcessingOutput(output_name=name, s3_output=s3)

    processor = Processor(
        role=ROLE,
        image_uri=IMAGE,
        instance_count=1,
        instance_type="ml.m5.large",
        entrypoint=["python3", "/opt/ml/processing/input/code/run.py"],
        sagemaker_session=session,
    )
    arguments = processor.run(
        inputs=[entered("code", code, "input/code"), *(entered(*item) for item in inputs)],
        outputs=[left(name) for name in outputs],
        arguments=[f"/opt/ml/processing/{outputs[0]}"],
    )
    return ProcessingStep(name=name, step_args=arguments, property_files=list(property_files))


def test_a_pipeline_that_the_sdk_built_runs(cloud, session):
    from sagemaker.core.workflow.conditions import (
        ConditionIn,
        ConditionLessThanOrEqualTo,
        ConditionNot,
        ConditionOr,
    )
    from sagemaker.core.workflow.functions import Join, JsonGet
    from sagemaker.core.workflow.parameters import ParameterFloat, ParameterString
    from sagemaker.core.workflow.properties import PropertyFile
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.fail_step import FailStep
    from sagemaker.mlops.workflow.pipeline import Pipeline

    most = ParameterFloat(name="Max", default_value=6.0)
    color = ParameterString(name="Color", default_value="red", enum_values=["red", "blue"])
    report = PropertyFile(name="Report", output_name="report", path="evaluation.json")
    code = script(
        cloud,
        "import json, sys\n"
        "json.dump({'a b': [{'mse': 4.5}]}, open(sys.argv[1] + '/evaluation.json', 'w'))\n",
    )
    evaluate = processing_step(session, "Evaluate", code, ["report"], [report])
    after = processing_step(
        session,
        "After",
        script(
            cloud,
            "import os\n"
            "data = os.path.dirname(__file__) + '/../data'\n"
            "assert os.listdir(data) == ['evaluation.json']\n",
        ),
        ["after"],
        inputs=[
            (
                "data",
                evaluate.properties.ProcessingOutputConfig.Outputs["report"].S3Output.S3Uri,
                "input/data",
            )
        ],
    )
    mse = JsonGet(step_name="Evaluate", property_file=report, json_path="['a b'][0].mse")
    gate = ConditionStep(
        name="Check",
        conditions=[
            ConditionLessThanOrEqualTo(left=mse, right=most),
            ConditionNot(ConditionIn(value=color, in_values=["blue"])),
            ConditionOr([ConditionLessThanOrEqualTo(mse, 0), ConditionIn(color, ["red"])]),
        ],
        if_steps=[],
        else_steps=[FailStep(name="Stop", error_message=Join(on=" ", values=["mse", mse]))],
    )
    pipeline = Pipeline(
        name="from-the-sdk",
        parameters=[most, color],
        steps=[evaluate, gate, after],
        sagemaker_session=session,
    )
    first = pipeline.upsert(role_arn=ROLE, tags=[{"Key": "team", "Value": "prices"}])
    again = pipeline.upsert(role_arn=ROLE, tags=[{"Key": "made", "Value": "twice"}])
    assert first["PipelineArn"] == again["PipelineArn"]
    tags = cloud.sm.list_tags(ResourceArn=first["PipelineArn"])["Tags"]
    assert {tag["Key"] for tag in tags} == {"team", "made"}

    execution = pipeline.start()
    execution.wait(delay=1, max_attempts=20)
    steps = {item["StepName"]: item for item in execution.list_steps()}
    assert steps["Check"]["Metadata"]["Condition"]["Outcome"] == "True"
    assert set(steps) == {"Evaluate", "Check", "After"}
    assert execution.describe()["PipelineExecutionStatus"] == "Succeeded"


def test_typed_resources(cloud):
    from sagemaker.core.resources import ModelPackage, ModelPackageGroup, Pipeline, TrainingJob
    from sagemaker.core.shapes import (
        AlgorithmSpecification,
        OutputDataConfig,
        ResourceConfig,
        StoppingCondition,
    )

    group = ModelPackageGroup.create(model_package_group_name="typed")
    assert group.model_package_group_status == "Completed"
    # ModelPackage.create() expects a ModelPackageName in the answer, which AWS's model lacks.
    arn = cloud.sm.create_model_package(
        ModelPackageGroupName="typed",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://bucket/m.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    package = ModelPackage.get(arn)
    package.update(model_approval_status="Approved")
    assert ModelPackage.get(arn).model_approval_status == "Approved"
    listed = ModelPackage.get_all(model_package_group_name="typed")
    assert [item.model_package_arn for item in listed] == [arn]

    code = source(cloud, train="print('loss=2.0')")
    job = TrainingJob.create(
        training_job_name="typed",
        role_arn=ROLE,
        algorithm_specification=AlgorithmSpecification(
            training_image=IMAGE, training_input_mode="File"
        ),
        hyper_parameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": code},
        output_data_config=OutputDataConfig(s3_output_path="s3://bucket/typed"),
        resource_config=ResourceConfig(
            instance_count=1, instance_type="ml.m5.large", volume_size_in_gb=10
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=60),
    )
    job.wait(poll=1)
    assert job.training_job_status == "Completed"
    assert Pipeline.get_all() is not None
