"""The two kinds of jobs, and the error that makes one fail."""

from sagemaker_emulator.api.resources import Kind
from sagemaker_emulator.errors import EmulatorError

DEFAULT_MAX_SECONDS = 86400
DEFAULT_STOPPING_CONDITION = {"MaxRuntimeInSeconds": DEFAULT_MAX_SECONDS}

PROCESSING = Kind(
    name="ProcessingJob",
    resource="processing-job",
    summaries="ProcessingJobSummaries",
    taken=("ResourceInUse", "Job name must be unique within an AWS account and region, and a"
           " processing job with this name already exists ({arn})"),
    missing=("ResourceNotFound", "Could not find requested job with name: {name}"),
    defaults={"ProcessingJobStatus": "InProgress", "StoppingCondition": DEFAULT_STOPPING_CONDITION},
)  # fmt: skip
TRAINING = Kind(
    name="TrainingJob",
    resource="training-job",
    summaries="TrainingJobSummaries",
    taken=("ResourceInUse", "Training job names must be unique within an AWS account and region,"
           " and a training job with this name already exists ({arn})"),
    missing=("ResourceNotFound", "Requested resource not found: training job {name}"),
    defaults={
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "StoppingCondition": DEFAULT_STOPPING_CONDITION,
    },
)  # fmt: skip


class JobError(EmulatorError):
    """The request of a job cannot be carried out. The message is the job's FailureReason."""


def prefix_of(kind: Kind) -> str:
    """Return the first word of members such as ProcessingStartTime and TrainingEndTime."""
    return kind.name.removesuffix("Job")
