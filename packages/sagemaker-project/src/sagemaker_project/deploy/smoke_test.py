"""Invoke an endpoint with the recorded requests of its model."""

from sagemaker_project.deploy import endpoint_test
from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.candidate import images_of
from sagemaker_project.deploy.config import Config, pinned_versions
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.endpoint_test_async import AsyncRuntime
from sagemaker_project.deploy.endpoint_test_result import TestResult
from sagemaker_project.deploy.endpoint_test_samples import Samples
from sagemaker_project.deploy.evidence import recorded_requests
from sagemaker_project.deploy.steps import SmokeTest
from sagemaker_project.errors import DeployFailed, UsageError

CONCURRENCY = 4  # requests of a test at a time


def smoke_test(context: Context, step: SmokeTest, endpoint: Members | None) -> None:
    """Try each new variant with a few recorded requests.

    Args:
        endpoint: the answer of DescribeEndpoint.

    Raises:
        DeployFailed: it does not answer as its model did, or runs another image than was tested.
    """
    target = context.target
    images = images_of(endpoint, pinned_versions(target.config))
    if step.images is not None and tuple(images) != step.images:
        raise DeployFailed(
            f"it runs {', '.join(images)}, the {target.before} test ran with"
            f" {', '.join(step.images)}: the image's tag was moved meanwhile"
        )
    requests = recorded_requests(step.package, step.samples)
    for variant in new_variants(target.config):
        context.say(f"invoke {target.endpoint} ({variant}) with recorded requests")
        try:
            result = run(context, requests, smoke=True, variant=variant)
        except UsageError as error:  # a variant that cannot be invoked does not serve
            raise DeployFailed(f"the smoke test: {error}") from None
        if result["Status"] != "Passed":
            raise DeployFailed(f"the smoke test: {endpoint_test.summary(result)}")


def new_variants(config: Config) -> list[str]:
    """Return the names of the production variants that serve the version that is promoted."""
    names = [variant["VariantName"] for variant in config.production_variants]
    pinned = pinned_versions(config)
    return [name for name in names if name not in pinned]


def run(
    context: Context, samples: Samples, smoke: bool = False, variant: str | None = None
) -> TestResult:
    """Invoke the stage's endpoint as its settings say, and return the result of the test.

    Args:
        variant: the only one to invoke, where there are others. An asynchronous endpoint cannot be
            asked for a variant.
    """
    config, name = context.target.config, context.target.endpoint
    runtime, target_variant = context.aws.runtime(), None
    if "AsyncInferenceConfig" in config.content:
        folder = f"s3://{context.target.bucket}/async-input/{name}"
        runtime = AsyncRuntime(runtime, context.aws.client("s3"), folder)
    elif len(config.production_variants) > 1:
        target_variant = variant
    limits = [
        variant.get("ServerlessConfig", {}).get("MaxConcurrency", CONCURRENCY)
        for variant in config.production_variants
    ]
    return endpoint_test.run_test(
        runtime,
        name,
        samples,
        config.test,
        concurrency=min(CONCURRENCY, *limits),
        smoke=smoke,
        target_variant=target_variant,
        now=context.aws.now,
    )
