"""A request to AWS that changes something, as a value: it can be printed, compared and sent."""

from dataclasses import dataclass
from typing import Any

Members = dict[str, Any]  # of a request to AWS or of its answer, by SageMaker's names

RESOURCE_MEMBERS = ("EndpointName", "EndpointConfigName", "ModelName", "ResourceId", "Key")


@dataclass(frozen=True)
class Call:
    """One request: boto3's name of the service, AWS's name of the operation, and its members."""

    service: str
    operation: str
    members: Members

    @property
    def resource(self) -> str:
        """The name of what the request is about."""
        names: tuple[str, ...] = RESOURCE_MEMBERS
        if self.operation == "CreateEndpointConfig":
            names = ("EndpointConfigName",)
        return next((str(self.members[name]) for name in names if name in self.members), "")

    def described(self) -> dict[str, str]:
        """Return the request as the results of `deploy-model` list it."""
        return {
            "Service": self.service,
            "Operation": self.operation,
            "Resource": self.resource,
        }


def sagemaker(operation: str, members: Members) -> Call:
    return Call("sagemaker", operation, members)
