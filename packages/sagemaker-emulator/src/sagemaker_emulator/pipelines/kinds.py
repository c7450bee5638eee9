"""The two resources of this folder: pipelines and their executions."""

from sagemaker_emulator.api.resources import Kind, identity

PIPELINE = Kind(
    name="Pipeline",
    resource="pipeline",
    summaries="PipelineSummaries",
    taken=("ValidationException", "Pipeline names must be unique within an AWS account and region."
           " Pipeline with name ({name}) already exists."),
    missing=("ResourceNotFound", "Pipeline '{arn}' does not exist."),
    newest_first=True,
    defaults={"PipelineStatus": "Active", "CreatedBy": identity, "LastModifiedBy": identity},
)  # fmt: skip
EXECUTION = Kind(
    name="PipelineExecution",
    resource="pipeline",
    summaries="PipelineExecutionSummaries",
    taken=("ConflictException", "Pipeline execution '{arn}' already exists."),
    missing=("ResourceNotFound", "Pipeline execution '{arn}' does not exist."),
    newest_first=True,
    defaults={"PipelineExecutionStatus": "Executing", "CreatedBy": identity},
)
RUNNING = ("Executing", "Stopping")  # values of PipelineExecutionStatus
