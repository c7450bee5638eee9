"""Types of AWS's JSON, and of the functions that answer a request.

The members of each are those of AWS's service model, which `service_model` checks where a request
comes in; inside the package they are read by name.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

Json: TypeAlias = Any  # what json.loads returns
Request: TypeAlias = dict[str, Any]  # the members of a request to an operation
Answer: TypeAlias = dict[str, Any]  # the members of its answer
Document: TypeAlias = dict[str, Any]  # a resource as the store keeps it
Operation: TypeAlias = Callable[["SageMaker", Request, str], Answer]  # the last one is the region
