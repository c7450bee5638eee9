"""Models, endpoint configurations and endpoints.

The control plane changes what endpoints are, on threads; the data plane answers their requests, on
one event loop. Between them are only the routes: the control plane writes for each endpoint which
fleets get which share of its requests, the data plane reads it.

    control plane                                     data plane
      endpoints.py          the operations              runtime.py           the runtime API
        models.py             on models                   invocation.py        one request
        endpoint_configs.py   on configurations           async_invocation.py  InvokeEndpointAsync
          endpoint_rules.py     what AWS allows
        snapshots.py        what an endpoint runs         data_capture.py      captures, on disk
        kinds.py            what resources are called       capture_record.py    one line
      lifecycle.py          from state to state             capture_delivery.py  their way to S3
        deployment.py         one update: shift, bake     responses.py         errors
        deployment_config.py  what it may ask for         cloudwatch.py        the thread of
        variant_fleets.py     the blue or green side        metrics.py         metrics and
        descriptions.py     how it is described             alarms.py          alarms

      traffic.py     the routes: which variant takes a request

      fleet.py       the workers of one variant, and the requests that wait for them
        container.py   a folder with the model's files and its script
        worker.py      one process, from outside
          _serve.py      one process, from inside: the container's server around the script
          _libraries.py  what the process that workers are forked from has loaded

clock.py has the time and the waits of deployments, alarms and metrics: they are as many times
shorter than on AWS as SAGEMAKER_LOCAL_SPEED says, and tests replace the clock. Each part takes in
its constructor what it needs; api/sagemaker.py puts them together.

Nothing is imported here: the process that workers are forked from imports this package, and is to
load no module of it but _serve.py and _libraries.py.
"""
