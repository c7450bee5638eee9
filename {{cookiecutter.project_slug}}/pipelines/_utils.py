"""How a module with get_pipeline() is called, under the names that SageMaker's projects have."""

from sagemaker_project.build.driver import (
    convert_struct,
    get_pipeline_custom_tags,
    get_pipeline_driver,
)

__all__ = ["convert_struct", "get_pipeline_custom_tags", "get_pipeline_driver"]
