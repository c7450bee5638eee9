"""The server process, and what all of SageMaker's resources share.

server.py     who may talk to the process, what answers a request, when the process ends
  http.py         HTTP/1.1 on one event loop, for the server and for the workers of endpoints
  http_client.py  the client's side of it, with which the server calls those workers
  request.py      a request and its response as values
  faults.py       injected faults and a log of calls, for tests
sagemaker.py  SageMaker's API as a function; puts the parts together
  documents.py    the types of AWS's JSON and of an operation
  service_model.py  requests and answers held to AWS's shapes
  resources.py    what all resources share: create, describe, list, tag, delete
  registry.py     model package groups and packages, events
other_services.py  S3, IAM, STS, logs and the rest
  moto_services.py  everything that is taken from moto
  metric_statistics.py  CloudWatch's statistics
  journal.py      what restores those services after a restart
  images.py       container images, which are digests only
store.py      all state, in one SQLite file
"""
