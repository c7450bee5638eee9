"""The {{cookiecutter.pipeline_name}} pipeline: what SageMaker runs, step by step.

    Preprocess -> Train -> Evaluate -> good enough? Register : Fail

Preprocess checks, cleans and splits the raw data; Train fits one scikit-learn Pipeline and packs it
with the code that serves it; Evaluate scores the test split. A model becomes a package in the model
registry, which waits for approval, if it keeps the threshold, beats a predictor that looks at no
column, and is not worse than the champion: the model that the last stage serves.

What the data are, which problem is solved and which metric decides is in schema.json.

`get_pipeline()` only describes this. It calls no AWS service, and the same sources give the same
definition to the byte, so a definition can be reviewed as a diff and step caching works. What
changes from run to run is a pipeline parameter.
"""

import os
from pathlib import Path

from sagemaker_project.tabular.schema import read_schema

from pipelines import PROJECT

SCHEMA = read_schema(Path(__file__).with_name("schema.json").read_bytes())
NAME = "{{cookiecutter.__pipeline_title}}"
REGION = PROJECT.region

# The placeholder for the role in a definition that is built to be read and not created.
NO_ROLE = "arn:aws:iam::000000000000:role/no-role-was-given"


def get_sagemaker_client(region):
    """Return a boto3 SageMaker client for `region`."""
    import boto3

    return boto3.Session(region_name=region).client("sagemaker")


def get_session(region, default_bucket=None):
    """Return a SageMaker session, which creates its default bucket when it first needs it."""
    return _new_session("Session", region, default_bucket)


def get_pipeline_session(region, default_bucket=None):
    """Return a SageMaker session that records jobs as pipeline steps and does not start them."""
    return _new_session("PipelineSession", region, default_bucket)


def _new_session(kind, region, default_bucket):
    import boto3
    from sagemaker.core.workflow import pipeline_context

    session_class = getattr(pipeline_context, kind)
    return session_class(
        boto_session=boto3.Session(region_name=region), default_bucket=default_bucket
    )


def get_pipeline_custom_tags(new_tags, region=REGION, sagemaker_project_name=None):
    """Return `new_tags` and the tags of the SageMaker project."""
    if not sagemaker_project_name:
        return new_tags
    client = get_sagemaker_client(region)
    project = client.describe_project(ProjectName=sagemaker_project_name)
    own = {tag["Key"] for tag in new_tags}
    pages = client.get_paginator("list_tags").paginate(ResourceArn=project["ProjectArn"])
    project_tags = [tag for page in pages for tag in page["Tags"]]
    return new_tags + [tag for tag in project_tags if tag["Key"] not in own]


def get_pipeline(
    region=REGION,
    sagemaker_project_name=None,
    role=None,
    default_bucket=None,
    model_package_group_name=f"{NAME}PackageGroup",
    pipeline_name=f"{NAME}Pipeline",
    base_job_prefix=NAME,
    processing_instance_type="ml.m5.xlarge",
    training_instance_type="ml.m5.xlarge",
):
    """Return the pipeline, described with the SageMaker SDK.

    Args:
        region: AWS region of the pipeline, its container image and its data.
        sagemaker_project_name: SageMaker project that the jobs are tagged with.
        role: ARN of the role that the jobs run as. Without it the definition can be read and
            compared, but not created.
        default_bucket: bucket for code, splits, models and reports; by default SageMaker's own,
            `sagemaker-<region>-<account of role>`.
        model_package_group_name: group in the model registry that versions are registered in.
        pipeline_name: name of the pipeline in SageMaker.
        base_job_prefix: first part of every S3 key.
        processing_instance_type: default of the parameter ProcessingInstanceType.
        training_instance_type: default of the parameter TrainingInstanceType.

    Returns:
        PipelineWithCode: a `sagemaker.mlops.workflow.pipeline.Pipeline`.
    """
    # The SDK needs a region when it is imported. It would also call IAM to check the role of every
    # job that it describes; SageMaker checks the role when a job starts.
    os.environ.setdefault("AWS_DEFAULT_REGION", region)
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")

    from sagemaker.core.workflow.conditions import (
        ConditionEquals,
        ConditionGreaterThanOrEqualTo,
        ConditionLessThanOrEqualTo,
    )
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join, JsonGet
    from sagemaker.core.workflow.parameters import (
        ParameterFloat,
        ParameterInteger,
        ParameterString,
    )
    from sagemaker.core.workflow.properties import PropertyFile
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.fail_step import FailStep
    from sagemaker_project.build.code import PipelineWithCode

    from pipelines.steps import Steps, output

    job_role = role or NO_ROLE
    bucket = default_bucket or f"sagemaker-{region}-{job_role.split(':')[4]}"
    steps = Steps(
        session=get_pipeline_session(region, bucket),
        role=job_role,
        bucket=bucket,
        prefix=base_job_prefix,
        folder=Path(__file__).parent,
        tags={"sagemaker:project-name": sagemaker_project_name} if sagemaker_project_name else {},
    )

    # A file, or all files below a prefix. In CodeBuild the variable INPUT_DATA_URL replaces it.
    input_data = ParameterString(
        "InputDataUrl", default_value=f"s3://{bucket}/{base_job_prefix}/data/"
    )
    # Step caching compares the URIs of inputs, not what is there. run-pipeline sets this to a hash
    # of the data, so that new data under an old name is noticed.
    input_data_version = ParameterString("InputDataVersion", default_value="unknown")
    processing_instance_count = ParameterInteger("ProcessingInstanceCount", default_value=1)
    processing_instance = ParameterString(
        "ProcessingInstanceType", default_value=processing_instance_type
    )
    training_instance_count = ParameterInteger("TrainingInstanceCount", default_value=1)
    training_instance = ParameterString(
        "TrainingInstanceType", default_value=training_instance_type
    )
    approval_status = ParameterString(
        "ModelApprovalStatus",
        default_value="PendingManualApproval",
        enum_values=["PendingManualApproval", "Approved", "Rejected"],
    )
    metric = SCHEMA.metric
    threshold = ParameterFloat(metric.parameter, default_value=metric.threshold)
    # The champion is the model that the last stage serves. run-pipeline looks it up before the
    # start, unless Champion is none, so that step caching and provenance see which one it is.
    champion = [
        ParameterString(
            "Champion", default_value=PROJECT.stages[-1], enum_values=[PROJECT.stages[-1], "none"]
        ),
        ParameterString("ChampionPackageArn", default_value="none"),
        ParameterString("ChampionModelUrl", default_value=steps.no_champion()),
        ParameterString("ChampionModelSha256", default_value="none"),
        ParameterFloat("ChampionTolerance", default_value=0.02),  # a share of its metric
    ]
    _, champion_package, champion_model, champion_sha256, champion_tolerance = champion
    seed = ParameterInteger("Seed", default_value=42)
    hyperparameters = {
        "learning-rate": ParameterFloat("LearningRate", default_value=0.05),
        "max-iter": ParameterInteger("MaxIter", default_value=150),
        "max-leaf-nodes": ParameterInteger("MaxLeafNodes", default_value=15),
        "min-samples-leaf": ParameterInteger("MinSamplesLeaf", default_value=60),
        "l2-regularization": ParameterFloat("L2Regularization", default_value=1.0),
        "max-features": ParameterFloat("MaxFeatures", default_value=0.5),
        "loss": ParameterString("Loss", default_value="auto"),
        "class-weight": ParameterString("ClassWeight", default_value="auto"),
        "seed": seed,
    }
    git_commit = ParameterString("GitCommit", default_value="unknown")
    definition = ParameterString("DefinitionSha256", default_value="unknown")

    preprocess = steps.processing(
        name=f"Preprocess{NAME}Data",
        display_name="Preprocess",
        description="Check, clean and split the raw data",
        script="preprocess.py",
        inputs={"input-data": input_data},
        outputs=["train", "validation", "test", "report"],
        arguments=["--job", "/opt/ml/config/processingjobconfig.json"],
        environment={"INPUT_DATA_VERSION": input_data_version},
        instance_type=processing_instance,
        instance_count=processing_instance_count,
    )

    train = steps.training(
        name=f"Train{NAME}Model",
        display_name="Train",
        description="Fit one scikit-learn Pipeline: preprocessing and model together",
        scripts=["train.py", "inference.py"],
        channels={name: output(preprocess, name) for name in ("train", "validation")},
        # A hyperparameter is text, even if the parameter is a number.
        hyperparameters={name: value.to_string() for name, value in hyperparameters.items()},
        metrics=[f"train:{metric.name}", f"validation:{metric.name}"],
        instance_type=training_instance,
        instance_count=training_instance_count,
    )
    model = train.properties.ModelArtifacts.S3ModelArtifacts

    metrics_file = PropertyFile(
        name=f"{NAME}EvaluationReport", output_name="evaluation", path="evaluation.json"
    )
    provenance_file = PropertyFile(
        name=f"{NAME}Provenance", output_name="evaluation", path="provenance.json"
    )
    gate_file = PropertyFile(name=f"{NAME}Gate", output_name="evaluation", path="gate.json")
    evaluate = steps.processing(
        name=f"Evaluate{NAME}Model",
        display_name="Evaluate",
        description="Score the test split through the model's own serving code",
        script="evaluate.py",
        inputs={
            "model": model,
            "champion": champion_model,
            "test": output(preprocess, "test"),
            "data-report": output(preprocess, "report"),
        },
        outputs=["evaluation"],
        arguments=[
            *("--threshold", threshold.to_string()),
            *("--champion-package", champion_package, "--champion-sha256", champion_sha256),
            *("--champion-tolerance", champion_tolerance.to_string()),
        ],
        property_files=[metrics_file, provenance_file, gate_file],
        instance_type=processing_instance,
    )

    def evaluated(property_file, path):
        return JsonGet(step_name=evaluate.name, property_file=property_file, json_path=path)

    value = evaluated(metrics_file, SCHEMA.metric_path)
    register = steps.register(
        name=f"Register{NAME}Model",
        display_name="Register",
        description="Add the model to the registry, waiting for approval",
        model=model,
        group=model_package_group_name,
        approval_status=approval_status,
        metrics=output(evaluate, "evaluation", "evaluation.json"),
        metadata={
            "GitCommit": git_commit,
            "DefinitionSha256": definition,
            "PipelineExecutionArn": ExecutionVariables.PIPELINE_EXECUTION_ARN,
            "TrainingJobName": train.properties.TrainingJobName,
            "InputDataUrl": Join(on="", values=[evaluated(provenance_file, "data.registered_url")]),
            "DataSha256": Join(on="", values=[evaluated(provenance_file, "data.sha256")]),
            "ModelSha256": Join(on="", values=[evaluated(provenance_file, "model.sha256")]),
            "SamplesSha256": Join(on="", values=[evaluated(provenance_file, "samples.sha256")]),
            "SchemaSha256": SCHEMA.sha256,
            "SplitSha256": SCHEMA.split_sha256,
            "ChampionPackageArn": champion_package,
            metric.parameter.removesuffix("Threshold"): Join(on="", values=[value]),
        },
        model_card="model_card.json",
    )
    refuse = FailStep(
        name=f"Refuse{NAME}Model",
        display_name="Refuse",
        error_message=Join(
            on="",
            values=[
                *("the model of execution ", ExecutionVariables.PIPELINE_EXECUTION_ID),
                *(" is not registered: ", evaluated(gate_file, "text")),
            ],
        ),
    )
    keeps = ConditionGreaterThanOrEqualTo if metric.more_is_better else ConditionLessThanOrEqualTo
    check = ConditionStep(
        name=f"Check{metric.name.replace('_', '').upper()}{NAME}Evaluation",
        display_name=f"Check the {metric.name}",
        description="Only a model that every gate lets pass is registered",
        conditions=[
            keeps(left=value, right=threshold),
            ConditionEquals(left=evaluated(gate_file, "passed"), right="yes"),
        ],
        if_steps=[register],
        else_steps=[refuse],
    )

    return PipelineWithCode(
        name=pipeline_name,
        parameters=[
            *(input_data, input_data_version, processing_instance_count, processing_instance),
            *(training_instance_count, training_instance, approval_status, threshold),
            *champion,
            *hyperparameters.values(),
            git_commit,
            definition,
        ],
        steps=[preprocess, train, evaluate, check],
        sagemaker_session=steps.session,
        code=steps.code if role else None,
    )
