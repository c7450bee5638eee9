"""The resources of hosting; models are in api/resources.py."""

from sagemaker_emulator.api.resources import Kind

CONFIG = Kind(
    name="EndpointConfig",
    resource="endpoint-config",
    summaries="EndpointConfigs",
    taken=("ValidationException", 'Cannot create already existing endpoint configuration "{arn}".'),
    missing=("ValidationException", 'Could not find endpoint configuration "{arn}".'),
    newest_first=True,
)
ENDPOINT = Kind(
    name="Endpoint",
    resource="endpoint",
    summaries="Endpoints",
    taken=("ValidationException", 'Cannot create already existing endpoint "{arn}".'),
    missing=("ValidationException", 'Could not find endpoint "{arn}".'),
    newest_first=True,
    defaults={"EndpointStatus": "Creating"},
)
