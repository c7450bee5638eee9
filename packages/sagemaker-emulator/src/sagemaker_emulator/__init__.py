"""An Amazon SageMaker for one machine: no AWS account, no Docker, no network.

    boto3, SageMaker SDK, AWS CLI        AWS_ENDPOINT_URL=http://127.0.0.1:<port>
              |
            api/        one process on the loopback interface: HTTP, who may use it, when it ends;
              |         SageMaker's API, its resources and registry; moto for all other services
       +------+------+
       |      |      |
       |      |   hosting/   models, endpoints, deployments, invocations, metrics and alarms
       |      |
       |    jobs/       processing and training jobs: /opt/ml, S3 in and out, logs, limits
       |
    pipelines/          pipelines, their executions, the scheduler of their steps

    testing/      a server and faults for the tests of any project
    client.py     starts or joins a server; imports nothing heavy
    errors.py     errors for clients of the API, and for a person at a terminal
    __main__.py   the command `sagemaker-local`

The docstring of each folder's `__init__.py` is the map of its modules.

Public are the names in `__all__` here and in `sagemaker_emulator.testing`, the command, and the
state folder; everything else may change with any version.

The emulator runs the pipeline definition that AWS would get, unchanged. What it does, it does as
AWS documents it; what it does not do, it refuses by name. It never reports work that was not done.

What it is not: there is no IAM (roles are names, every request is allowed), no KMS, no VPC, no
network isolation, no quotas and no prices. There is no container: the script of a job or a model
runs with this Python, as you, and can read your files. Instance types mean nothing, a job has one
instance, and an endpoint no more workers than this machine has CPUs. Waits of endpoints are 60
times shorter than on AWS (SAGEMAKER_LOCAL_SPEED). State is kept in `.sagemaker_local/`. The server
sends nothing to AWS; the scripts that it runs are pointed at the server, and may use the network of
this machine.
"""

from sagemaker_emulator.client import Local, attach
from sagemaker_emulator.errors import LocalError

__all__ = ["Local", "LocalError", "attach"]
