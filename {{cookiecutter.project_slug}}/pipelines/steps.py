"""How this project makes the steps of a pipeline.

One container image, scikit-learn's, runs every job. A step's code is a folder: the script,
schema.json, and the package sagemaker_project.tabular as plain files, which need no installation. A
processing step has its inputs and outputs in folders below /opt/ml/processing, and gets an argument
with the path of each: the input `model` is `--model /opt/ml/processing/input/model`. A training
step runs in script mode, where the container passes the paths.

A requirements.txt beside the scripts lists packages that the container does not have. Every job
installs them at its start: script mode does so by itself, a processing step's entrypoint does it.

Jobs are retried if AWS has no capacity or fails. A step whose code, arguments and inputs are those
of an earlier run is not run again: its results are reused.

Only `get_pipeline()` functions import this module: it imports the SageMaker SDK, which takes
seconds.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from sagemaker.core import image_uris
from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
from sagemaker.core.processing import Processor
from sagemaker.core.shapes import (
    MetricDefinition,
    ModelPackageModelCard,
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
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join
from sagemaker.core.workflow.pipeline_context import PipelineSession
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
from sagemaker_project.build.code import StepCode, s3_uri, traveling

SKLEARN_VERSION = "1.9-0"
REQUIREMENTS = "requirements.txt"
INSTALL_AND_RUN = (  # $0 is the script
    f'python3 -m pip install --requirement "$(dirname "$0")/{REQUIREMENTS}"'
    ' && exec python3 "$0" "$@"'
)
MAX_RUNTIME_SECONDS = 3600
CACHING = CacheConfig(enable_caching=True, expire_after="P30D")
RETRIES = [
    StepRetryPolicy(
        exception_types=[StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING],
        interval_seconds=5,
        max_attempts=5,
    )
]
JOB_RETRIES = [
    *RETRIES,
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

# The first two are how the container finds inference.py in the artifact. One thread per request:
# with more, the OpenMP pools of its web workers compete for the same cores, and the throughput
# collapses.
SERVING = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass
class Steps:
    """Make steps that share a session, a role, a place in S3 and a folder of scripts."""

    session: PipelineSession
    role: str
    bucket: str
    prefix: str
    folder: Path
    tags: dict
    code: StepCode = field(init=False)
    image: str = field(init=False)

    def __post_init__(self):
        self.code = StepCode(self.bucket, self.prefix)
        self.image = image_uris.retrieve(
            "sklearn",
            region=self.session.boto_region_name,
            version=SKLEARN_VERSION,
            py_version="py3",
        )

    def processing(
        self,
        name,
        script,
        inputs,
        outputs,
        instance_type,
        instance_count=1,
        arguments=(),
        environment=None,
        property_files=(),
        **described,
    ):
        """A ProcessingStep that runs `script`.

        Args:
            inputs: {name: S3 URI}.
            outputs: names; `output()` returns the S3 URI of one.
            arguments: of the script, in addition to those that name its folders.
        """
        processor = Processor(
            role=self.role,
            image_uri=self.image,
            entrypoint=self._entrypoint(f"/opt/ml/processing/input/code/{script}"),
            instance_count=instance_count,
            instance_type=instance_type,
            max_runtime_in_seconds=MAX_RUNTIME_SECONDS,
            sagemaker_session=self.session,
            env=environment,
            tags=[{"Key": key, "Value": value} for key, value in self.tags.items()],
        )
        folders = {name: f"/opt/ml/processing/input/{name}" for name in inputs}
        folders |= {name: f"/opt/ml/processing/{name}" for name in outputs}
        paths = [part for name, path in folders.items() for part in (f"--{name}", path)]
        code = {"code": self.code.script(*self._files(script), package=traveling())}
        step_args = processor.run(
            inputs=[_input(name, uri) for name, uri in {**inputs, **code}.items()],
            outputs=[_output(name, folders[name], self._uri(name)) for name in outputs],
            arguments=[*paths, "--message", "/opt/ml/output/message", *arguments],
        )
        return ProcessingStep(
            name=name,
            step_args=step_args,
            property_files=list(property_files),
            cache_config=CACHING,
            retry_policies=JOB_RETRIES,
            **described,
        )

    def training(
        self,
        name,
        scripts,
        channels,
        hyperparameters,
        metrics,
        instance_type,
        instance_count=1,
        **described,
    ):
        """A TrainingStep that runs the first of `scripts`; the others are put beside it.

        Args:
            channels: {name: S3 URI}.
            hyperparameters: {name: text or pipeline variable}.
            metrics: names of the metrics, which the script prints as `name=number`.
        """
        source = self.code.source_dir(*self._files(*scripts), package=traveling())
        trainer = ModelTrainer(
            training_image=self.image,
            role=self.role,
            sagemaker_session=self.session,
            base_job_name=self.prefix,
            compute=Compute(
                instance_type=instance_type, instance_count=instance_count, volume_size_in_gb=30
            ),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=MAX_RUNTIME_SECONDS),
            output_data_config=OutputDataConfig(s3_output_path=self._uri("model")),
            hyperparameters={
                "sagemaker_program": scripts[0],
                "sagemaker_submit_directory": source,
                **hyperparameters,
            },
            tags=[Tag(key=key, value=value) for key, value in self.tags.items()],
        ).with_metric_definitions(
            [MetricDefinition(name=metric, regex=f"{metric}=([0-9.eE+-]+)") for metric in metrics]
        )
        step_args = trainer.train(
            input_data_config=[
                InputData(channel_name=channel, data_source=uri, content_type="text/csv")
                for channel, uri in channels.items()
            ]
        )
        return TrainingStep(
            name=name,
            step_args=step_args,
            cache_config=CACHING,
            retry_policies=JOB_RETRIES,
            **described,
        )

    def register(
        self, name, model, group, approval_status, metrics, metadata, model_card, **described
    ):
        """A ModelStep that adds a version to the model package group `group`.

        Args:
            model: S3 URI of model.tar.gz, which holds its own inference code.
            metrics: S3 URI of a file in the Model Quality format.
            metadata: {name: text or pipeline variable}, kept with the package.
            model_card: file in SageMaker's schema of a model package's card.
        """
        card = json.loads((self.folder / model_card).read_text(encoding="utf-8"))
        builder = ModelBuilder(
            image_uri=self.image,
            s3_model_data_url=model,
            role_arn=self.role,
            sagemaker_session=self.session,
            dependencies={},  # by default the builder packs some, and calls S3 for a bucket
            env_vars=SERVING,
        )
        step_args = builder.register(
            model_package_group_name=group,
            content_types=["text/csv", "application/json"],
            response_types=["text/csv", "application/json"],
            inference_instances=["ml.t2.medium", "ml.m5.large", "ml.m5.xlarge"],
            transform_instances=["ml.m5.large", "ml.m5.xlarge"],
            approval_status=approval_status,
            model_metrics=ModelMetrics(
                model_statistics=MetricsSource(content_type="application/json", s3_uri=metrics)
            ),
            customer_metadata_properties=metadata,
            model_card=ModelPackageModelCard(
                model_card_content=json.dumps(card), model_card_status="Draft"
            ),
        )
        return ModelStep(name=name, step_args=step_args, retry_policies=RETRIES, **described)

    def no_champion(self):
        """Return the S3 URI of an empty file: the input of a job where there is no champion."""
        return self.code.file("no-champion", b"")

    def _files(self, *scripts):
        """Return what a step's code consists of, besides the package that travels."""
        files = [self.folder / name for name in (*scripts, "schema.json", REQUIREMENTS)]
        return files if files[-1].is_file() else files[:-1]

    def _entrypoint(self, script):
        if (self.folder / REQUIREMENTS).is_file():
            return ["sh", "-c", INSTALL_AND_RUN, script]
        return ["python3", script]

    def _uri(self, *parts):
        return s3_uri(self.bucket, self.prefix, ExecutionVariables.PIPELINE_EXECUTION_ID, *parts)


def output(step, name, *path):
    """Return the S3 URI of an output of a ProcessingStep, or of a file in it."""
    uri = step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri
    return Join(on="/", values=[uri, *path]) if path else uri


def _input(name, uri):
    return ProcessingInput(
        input_name=name,
        s3_input=ProcessingS3Input(
            s3_uri=uri,
            local_path=f"/opt/ml/processing/input/{name}",
            s3_data_type="S3Prefix",
            s3_input_mode="File",
        ),
    )


def _output(name, folder, uri):
    return ProcessingOutput(
        output_name=name,
        s3_output=ProcessingS3Output(s3_uri=uri, local_path=folder, s3_upload_mode="EndOfJob"),
    )
