"""An Amazon SageMaker for one machine: no AWS account, no Docker, no network.

    boto3, SageMaker SDK, AWS CLI            AWS_ENDPOINT_URL=http://127.0.0.1:<port>
              |
          server.py      one process on the loopback interface; who may talk to it; when it ends
              |
       +------+---------------------------+
       |  scope "sagemaker"               |  every other service: S3, IAM, STS, logs, events
       |                                  |
    service_model.py   requests and answers    moto_services.py   moto, with a journal so that it
                  held to AWS's shapes                    remembers
    resources.py  what all resources share
    registry.py   model package groups and packages, events
    pipelines.py  pipelines, executions, the scheduler
      definition.py   JSON to dataclasses, every mistake found before a run
      resolver.py     Get, Std:Join, Std:JsonGet, conditions: pure functions
      steps.py        the table of step types and what each does
    jobs.py       processing and training jobs: /opt/ml, S3 in and out, logs, limits
      _job.py         the job's own process
    endpoints.py  models, endpoint configurations, endpoints: what is asked and told
      deployments.py  from one state to the next: blue/green, canary, linear, rolling, back
      metrics.py      invocation metrics, alarms that evaluate
      runtime.py      InvokeEndpoint: which variant, shadows, data capture, async
      serving.py      the worker processes of one variant
      _serve.py       a worker: the scikit-learn container's server around inference.py
      _libraries.py   what all workers have loaded before they are one
    http.py       HTTP/1.1 on one event loop, for the server and for the workers
    faults.py     faults on purpose and a log of calls, for tests
    store.py      all state, in one SQLite file
    request.py    an HTTP request as a value
    errors.py     what a client is told, and what a person is told

    client.py     starts or joins a server; imports nothing heavy
    testing.py    a server and faults for the tests of any project
    __main__.py   the command `sagemaker-local`

Public are the names in `__all__` here and in `sagemaker_emulator.testing`, the command, and the
state folder; everything else may change with any version.

It runs the pipeline definition that AWS would get, unchanged. What it does, it does as AWS
documents it, and what it does not do it refuses by name: it never reports work that was not done.

What it is not: there is no IAM (roles are names, every request is allowed), no KMS, no VPC, no
network isolation, no quotas and no prices. There is no container: the script of a job or a model
runs with this Python, as you, with your files within its reach. Instance types mean nothing, a job
has one instance, and an endpoint no more workers than this machine has CPUs. Waits of endpoints
are 60 times shorter than on AWS (SAGEMAKER_LOCAL_SPEED). State lives in `.sagemaker_local/`. The
server sends nothing to AWS; such a script is pointed at the server, and may reach whatever this
machine reaches.
"""

from sagemaker_emulator.client import Local, attach
from sagemaker_emulator.errors import LocalError

__all__ = ["Local", "LocalError", "attach"]
