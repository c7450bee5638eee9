"""The {{cookiecutter.pipeline_name}} pipeline: what SageMaker runs, step by step.

    Preprocess -> Train -> Evaluate -> mse <= MseThreshold ? Register : Fail

Preprocess checks and cleans the raw CSV and splits it; Train fits one scikit-learn Pipeline and
packs it with the code that serves it; Evaluate scores the test split; a model that is good enough
becomes a package in the model registry, waiting for approval.

`get_pipeline()` only describes this. It calls no AWS service, and the same sources give the same
definition to the byte, so a definition can be reviewed as a diff and step caching works. What
changes from run to run is a pipeline parameter.
"""

import os
from pathlib import Path

HERE = Path(__file__).parent
NAME = "{{cookiecutter.__pipeline_title}}"
REGION = "{{cookiecutter.aws_region}}"
SKLEARN_VERSION = "1.9-0"
MAX_RUNTIME_SECONDS = 3600

# Stands where the role belongs in a definition that is built to be read, not to be created.
NO_ROLE = "arn:aws:iam::000000000000:role/no-role-was-given"

# One request at a time per thread: with more, the OpenMP pools of the container's web workers
# fight for the same cores and throughput collapses.
SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def get_sagemaker_client(region):
    """A boto3 SageMaker client for `region`."""
    import boto3

    return boto3.Session(region_name=region).client("sagemaker")


def get_session(region, default_bucket=None):
    """A SageMaker session in `region`; its default bucket is made when it is first needed."""
    return _new_session("Session", region, default_bucket)


def get_pipeline_session(region, default_bucket=None):
    """A SageMaker session that records the jobs it is asked to start as pipeline steps."""
    return _new_session("PipelineSession", region, default_bucket)


def _new_session(kind, region, default_bucket):
    import boto3
    from sagemaker.core.workflow import pipeline_context

    session_class = getattr(pipeline_context, kind)
    return session_class(
        boto_session=boto3.Session(region_name=region), default_bucket=default_bucket
    )


def get_pipeline_custom_tags(new_tags, region=REGION, sagemaker_project_name=None):
    """`new_tags` and the tags of the SageMaker project, so that they are found together."""
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
    """The pipeline, as the SageMaker SDK describes it.

    Args:
        region: AWS region of the pipeline, its container image and its data.
        sagemaker_project_name: SageMaker project that the jobs are tagged with.
        role: ARN of the role the jobs run as. Without it the definition can be read and compared,
            but not created.
        default_bucket: bucket for code, splits, models and reports; SageMaker's own
            `sagemaker-<region>-<account of role>` where none is given.
        model_package_group_name: group in the model registry that versions are registered in.
        pipeline_name: name of the pipeline in SageMaker.
        base_job_prefix: first part of every S3 key.
        processing_instance_type: default of the parameter ProcessingInstanceType.
        training_instance_type: default of the parameter TrainingInstanceType.

    Returns:
        PipelineWithCode: a `sagemaker.mlops.workflow.pipeline.Pipeline`.
    """
    # The SDK wants a region before it is imported, and would ask IAM about the role of every job it
    # describes; SageMaker checks the role itself when a job starts.
    os.environ.setdefault("AWS_DEFAULT_REGION", region)
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")

    from sagemaker.core import image_uris
    from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
    from sagemaker.core.processing import Processor
    from sagemaker.core.shapes import (
        MetricDefinition,
        ProcessingInput,
        ProcessingOutput,
        ProcessingS3Input,
        ProcessingS3Output,
        Tag,
    )
    from sagemaker.core.training.configs import (
        Compute,
        InputData,
        OutputDataConfig,
        StoppingCondition,
    )
    from sagemaker.core.workflow.conditions import ConditionLessThanOrEqualTo
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
    from sagemaker.mlops.workflow.model_step import ModelStep
    from sagemaker.mlops.workflow.retry import (
        SageMakerJobExceptionTypeEnum,
        SageMakerJobStepRetryPolicy,
        StepExceptionTypeEnum,
        StepRetryPolicy,
    )
    from sagemaker.mlops.workflow.steps import CacheConfig, ProcessingStep, TrainingStep
    from sagemaker.serve.model_builder import ModelBuilder
    from sagemaker.train import ModelTrainer

    from pipelines._code import PipelineWithCode, StepCode, s3_uri

    # What the person who starts the pipeline can choose.
    input_data = ParameterString(
        "InputDataUrl",
        default_value=(
            f"s3://sagemaker-servicecatalog-seedcode-{region}/dataset/abalone-dataset.csv"
        ),
    )
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
    mse_threshold = ParameterFloat("MseThreshold", default_value=6.0)
    seed = ParameterInteger("Seed", default_value=42)
    hyperparameters = {
        "learning-rate": ParameterFloat("LearningRate", default_value=0.05),
        "max-iter": ParameterInteger("MaxIter", default_value=150),
        "max-leaf-nodes": ParameterInteger("MaxLeafNodes", default_value=15),
        "min-samples-leaf": ParameterInteger("MinSamplesLeaf", default_value=60),
        "l2-regularization": ParameterFloat("L2Regularization", default_value=1.0),
        "max-features": ParameterFloat("MaxFeatures", default_value=0.5),
        "seed": seed,
    }
    git_commit = ParameterString("GitCommit", default_value="unknown")
    parameters = [
        input_data,
        processing_instance_count,
        processing_instance,
        training_instance_count,
        training_instance,
        approval_status,
        mse_threshold,
        *hyperparameters.values(),
        git_commit,
    ]

    job_role = role or NO_ROLE
    bucket = default_bucket or f"sagemaker-{region}-{job_role.split(':')[4]}"
    session = get_pipeline_session(region, bucket)
    image = image_uris.retrieve("sklearn", region=region, version=SKLEARN_VERSION, py_version="py3")
    tags = {"sagemaker:project-name": sagemaker_project_name} if sagemaker_project_name else {}
    code = StepCode(bucket, base_job_prefix)
    caching = CacheConfig(enable_caching=True, expire_after="P30D")
    retries = [
        StepRetryPolicy(
            exception_types=[StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING],
            interval_seconds=5,
            max_attempts=5,
        )
    ]
    job_retries = [
        *retries,
        SageMakerJobStepRetryPolicy(
            exception_types=[SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT],
            failure_reason_types=[
                SageMakerJobExceptionTypeEnum.INTERNAL_ERROR,
                SageMakerJobExceptionTypeEnum.CAPACITY_ERROR,
            ],
            interval_seconds=60,
            max_attempts=5,
        ),
    ]

    def output_uri(*parts):
        execution_id = ExecutionVariables.PIPELINE_EXECUTION_ID
        return s3_uri(bucket, base_job_prefix, execution_id, *parts)

    def processing_input(name, uri):
        return ProcessingInput(
            input_name=name,
            s3_input=ProcessingS3Input(
                s3_uri=uri,
                local_path=f"/opt/ml/processing/input/{name}",
                s3_data_type="S3Prefix",
                s3_input_mode="File",
            ),
        )

    def processing_output(name):
        return ProcessingOutput(
            output_name=name,
            s3_output=ProcessingS3Output(
                s3_uri=output_uri(name),
                local_path=f"/opt/ml/processing/{name}",
                s3_upload_mode="EndOfJob",
            ),
        )

    def processing_args(script, inputs, outputs, arguments, instance_count=1):
        """Run `script` with one `--name folder` argument for each of its inputs and outputs."""
        processor = Processor(
            role=job_role,
            image_uri=image,
            entrypoint=["python3", f"/opt/ml/processing/input/code/{script}"],
            instance_count=instance_count,
            instance_type=processing_instance,
            max_runtime_in_seconds=MAX_RUNTIME_SECONDS,
            sagemaker_session=session,
            tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )
        inputs = {**inputs, "code": code.script(HERE / script)}
        return processor.run(
            inputs=[processing_input(name, uri) for name, uri in inputs.items()],
            outputs=[processing_output(name) for name in outputs],
            arguments=arguments,
        )

    preprocess = ProcessingStep(
        name=f"Preprocess{NAME}Data",
        display_name="Preprocess",
        description="Check, clean and split the raw CSV",
        step_args=processing_args(
            "preprocess.py",
            inputs={"data": input_data},
            outputs=["train", "validation", "test", "report"],
            arguments=[
                *("--input-data", "/opt/ml/processing/input/data"),
                *("--train", "/opt/ml/processing/train"),
                *("--validation", "/opt/ml/processing/validation"),
                *("--test", "/opt/ml/processing/test"),
                *("--report", "/opt/ml/processing/report"),
                *("--seed", seed.to_string()),
            ],
            instance_count=processing_instance_count,
        ),
        cache_config=caching,
        retry_policies=job_retries,
    )

    def preprocessed(name):
        return preprocess.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri

    trainer = ModelTrainer(
        training_image=image,
        role=job_role,
        sagemaker_session=session,
        base_job_name=base_job_prefix,
        compute=Compute(
            instance_type=training_instance,
            instance_count=training_instance_count,
            volume_size_in_gb=30,
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=MAX_RUNTIME_SECONDS),
        output_data_config=OutputDataConfig(s3_output_path=output_uri("model")),
        hyperparameters={
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": code.source_dir(HERE / "train.py", HERE / "inference.py"),
            # A hyperparameter is text, also where the parameter is a number.
            **{name: parameter.to_string() for name, parameter in hyperparameters.items()},
        },
        tags=[Tag(key=key, value=value) for key, value in tags.items()],
    ).with_metric_definitions(
        [
            MetricDefinition(name=name, regex=f"{name}=([0-9.eE+-]+)")
            for name in ("train:mse", "validation:mse", "validation:rmse")
        ]
    )
    train = TrainingStep(
        name=f"Train{NAME}Model",
        display_name="Train",
        description="Fit one scikit-learn Pipeline: preprocessing and model together",
        step_args=trainer.train(
            input_data_config=[
                InputData(
                    channel_name=name, data_source=preprocessed(name), content_type="text/csv"
                )
                for name in ("train", "validation")
            ]
        ),
        cache_config=caching,
        retry_policies=job_retries,
    )
    model_artifact = train.properties.ModelArtifacts.S3ModelArtifacts

    metrics_file = PropertyFile(
        name=f"{NAME}EvaluationReport",
        output_name="evaluation",
        path="evaluation.json",
    )
    provenance_file = PropertyFile(
        name=f"{NAME}Provenance",
        output_name="evaluation",
        path="provenance.json",
    )
    evaluate = ProcessingStep(
        name=f"Evaluate{NAME}Model",
        display_name="Evaluate",
        description="Score the test split through the model's own serving code",
        step_args=processing_args(
            "evaluate.py",
            inputs={
                "model": model_artifact,
                "test": preprocessed("test"),
                "report": preprocessed("report"),
            },
            outputs=["evaluation"],
            arguments=[
                *("--model", "/opt/ml/processing/input/model"),
                *("--test", "/opt/ml/processing/input/test"),
                *("--data-report", "/opt/ml/processing/input/report"),
                *("--output", "/opt/ml/processing/evaluation"),
            ],
        ),
        property_files=[metrics_file, provenance_file],
        cache_config=caching,
        retry_policies=job_retries,
    )

    evaluation = evaluate.properties.ProcessingOutputConfig.Outputs["evaluation"].S3Output.S3Uri

    def evaluated(property_file, path):
        return JsonGet(step_name=evaluate.name, property_file=property_file, json_path=path)

    mse = evaluated(metrics_file, "regression_metrics.mse.value")
    builder = ModelBuilder(
        image_uri=image,
        s3_model_data_url=model_artifact,
        role_arn=job_role,
        sagemaker_session=session,
        # The artifact holds its own inference code. `{}` keeps the builder from packing
        # dependencies, which would need the bucket now.
        dependencies={},
        env_vars={
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            **SINGLE_THREADED,
        },
    )
    register = ModelStep(
        name=f"Register{NAME}Model",
        display_name="Register",
        description="Add the model to the registry, waiting for approval",
        step_args=builder.register(
            model_package_group_name=model_package_group_name,
            content_types=["text/csv", "application/json"],
            response_types=["text/csv", "application/json"],
            inference_instances=["ml.t2.medium", "ml.m5.large", "ml.m5.xlarge"],
            transform_instances=["ml.m5.large", "ml.m5.xlarge"],
            approval_status=approval_status,
            model_metrics=ModelMetrics(
                model_statistics=MetricsSource(
                    content_type="application/json",
                    s3_uri=Join(on="/", values=[evaluation, "evaluation.json"]),
                )
            ),
            customer_metadata_properties={
                "GitCommit": git_commit,
                "DataSha256": evaluated(provenance_file, "data.sha256"),
                "ModelSha256": evaluated(provenance_file, "model.sha256"),
                "Mse": Join(on="", values=[mse]),
            },
        ),
        retry_policies=retries,
    )
    refuse = FailStep(
        name=f"Refuse{NAME}Model",
        display_name="Refuse",
        error_message=Join(
            on="",
            values=[
                *("test mse ", mse, " is above MseThreshold ", mse_threshold),
                *(": the model of execution ", ExecutionVariables.PIPELINE_EXECUTION_ID),
                " is not registered. Improve it, or start with a higher MseThreshold.",
            ],
        ),
    )
    check = ConditionStep(
        name=f"CheckMSE{NAME}Evaluation",
        display_name="Check the mse",
        description="Only a model at or under MseThreshold is registered",
        conditions=[ConditionLessThanOrEqualTo(left=mse, right=mse_threshold)],
        if_steps=[register],
        else_steps=[refuse],
    )

    return PipelineWithCode(
        name=pipeline_name,
        parameters=parameters,
        steps=[preprocess, train, evaluate, check],
        sagemaker_session=session,
        code=code if role else None,
    )
