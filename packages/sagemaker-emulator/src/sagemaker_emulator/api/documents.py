"""Names for the JSON that the modules pass on. Its members are those of AWS's service model, which
`service_model` checks at the edge; inside, they are read by name.
"""

from typing import Any

Json = Any  # what json.loads gives
Request = dict[str, Any]  # the members of a request to an operation
Answer = dict[str, Any]  # the members of its answer
Document = dict[str, Any]  # a resource as the store keeps it
