"""What a step leaves to others: property files for later steps, a result for later executions."""

import json

from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.jobs.s3_files import S3, bucket_and_key
from sagemaker_emulator.pipelines.resolver import ExpressionError
from sagemaker_emulator.pipelines.schema import Step
from sagemaker_emulator.pipelines.steps import STEPS


def cache_key(step: Step, arguments: Json) -> str | None:
    """Return a text that is equal for interchangeable results; None for types without caching."""
    names = STEPS[step.type].cache_key
    if not names:
        return None
    return json.dumps([step.type, {n: arguments.get(n) for n in names}], sort_keys=True)


def cached(store: Store, pipeline_arn: str, step: Step, key: str, now: float) -> Document | None:
    """Return the latest step of the pipeline whose result may be reused, or None."""
    if step.cache_seconds is None:
        return None
    oldest = now - step.cache_seconds
    for earlier in reversed(store.list("Step", f"{pipeline_arn}/execution/")):
        fits = earlier.get("CacheKey") == key and earlier["StepStatus"] == "Succeeded"
        if fits and "CacheHitResult" not in earlier and earlier["EndTime"] >= oldest:
            return earlier
    return None


def property_files(s3: S3, step: Step, properties: Document) -> dict[str, Json | ExpressionError]:
    """Return the parsed property files of a step that has succeeded, by name.

    A file that cannot be read is represented by its error: only an expression that reads it fails.
    """
    outputs = (properties.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    folders = {output["OutputName"]: output["S3Output"]["S3Uri"] for output in outputs}
    files: dict[str, Json | ExpressionError] = {}
    for file in step.property_files:
        uri = f"{folders[file.output].rstrip('/')}/{file.path}"
        body = s3.read_object(*bucket_and_key(uri))
        try:
            files[file.name] = (
                ExpressionError(f"the step wrote no {uri}") if body is None else json.loads(body)
            )
        except ValueError as error:
            files[file.name] = ExpressionError(f"{uri} is not JSON: {error}")
    return files
