"""Call a module that has get_pipeline(), under the names that SageMaker's own projects use."""

from sagemaker_project.build.driver import (
    convert_struct,
    get_pipeline_custom_tags,
    get_pipeline_driver,
)

__all__ = ["convert_struct", "get_pipeline_custom_tags", "get_pipeline_driver"]
