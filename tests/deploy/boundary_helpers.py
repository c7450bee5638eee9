"""Runs of `deploy-model` that are cut short at a call to AWS, and what they leave behind.

A run is a child process of its own. In front of each call and behind each answer is a boundary;
the first run counts them, the next ones end at one of them. So a call that is added later is
tried by itself. Reads that follow each other and are the same operation (the entries of the ledger,
the looks at an endpoint that is waited for, invocations) count as one: how many there are is a
matter of time, and nothing changes between them.
"""

import gc
import json
import os
import re
import signal
import threading
import traceback
from dataclasses import dataclass

from deploy_helpers import BUCKET, READS

SAFE = (*READS, "Invoke")
TIME = re.compile(r"20\d\d-\d\d-\d\dT[0-9:.+]*")


@dataclass
class Ended:
    """What became of a run: by which signal it ended, else its result."""

    signal: int | None
    result: dict | None
    boundaries: list  # the operations behind which and in front of which it went, in order

    @property
    def changed(self):
        """Whether it had sent anything that changes something."""
        return any(not operation.startswith(SAFE) for operation in self.boundaries)


class Cut:
    """Does something at the boundary of number `at`; boundaries count from 1."""

    def __init__(self, report, at=None, act=None, side="before"):
        self.report, self.at, self.act, self.side = report, at, act, side
        self.count, self.last, self.lock = 0, None, threading.Lock()

    def install(self):
        import boto3

        events = boto3._get_default_session().events
        events.register("before-call", self.before)
        events.register("after-call", self.after)

    def before(self, model, **_):
        with self.lock:
            if model.name == self.last and model.name.startswith(SAFE):
                return None
            self.last = model.name
            self.count += 1
            here = self.count == self.at
            if here and self.side == "before":
                return self.act(model.name)
            os.write(self.report, f"{model.name}\n".encode())
            return None

    def after(self, model, **_):
        if self.count == self.at and self.side == "after" and model.name == self.last:
            self.at = None
            self.act(model.name)


def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(_):
    os.kill(os.getpid(), signal.SIGINT)


def terminate(_):
    os.kill(os.getpid(), signal.SIGTERM)


def deny(operation):
    """In place of an answer: no, for good."""
    from botocore.awsrequest import AWSResponse

    error = {"Code": "AccessDenied", "Message": f"not authorized to perform: {operation}"}
    about = {"HTTPStatusCode": 403, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse("", 403, {}, None), {"Error": error, "ResponseMetadata": about}


def run(place, words, stage="staging", **cut):
    """Run a command in a child process, which is cut short as `cut` says."""
    result_end, result_start = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(place, words, stage, cut, result_start)
    os.close(result_start)
    with open(result_end) as file:
        *boundaries, last = [*file.read().split("\n")]
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Ended(os.WTERMSIG(status), None, boundaries)
    result = json.loads(last)
    assert "traceback" not in result, result["traceback"]
    return Ended(None, result, boundaries)


def _child(place, words, stage, cut, report):
    """Never comes back: pytest's own end is its parent's."""
    try:
        gc.disable()
        Cut(report, **cut).install()
        result = place.deploy(*words, stage=stage)
    except BaseException:
        result = {"traceback": traceback.format_exc()}
    os.write(report, json.dumps(result).encode())
    os._exit(0)


# What is left behind


def ledger_of(place, stage="staging"):
    from deploy.ledger import Ledger

    return Ledger(tuple(place.entries(stage)))


def lock_key(place, stage="staging"):
    return f"{place.name}/deploy/{stage}/lock.json"


def locked(place, stage="staging"):
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix=lock_key(place, stage))
    return "Contents" in listed


def unlock(place, stage="staging"):
    place.s3.delete_object(Bucket=BUCKET, Key=lock_key(place, stage))


def state(place, stage="staging"):
    """All that a command may change but for the lock, without what differs from day to day."""
    live = place.live(stage)
    endpoint = place.endpoint(stage) if live else {}
    config = place.sm.describe_endpoint_config(EndpointConfigName=live) if live else {}
    ledger = ledger_of(place, stage)
    scaling = place.cloud.client("application-autoscaling")
    targets = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{place.name}-{stage}/variant/All"]
    )
    found = {
        "endpoint": [endpoint.get(n) for n in ("EndpointStatus", "EndpointConfigName")],
        "variants": [
            [v.get(n) for n in ("VariantName", "DesiredWeight", "DesiredInstanceCount")]
            for v in endpoint.get("ProductionVariants", [])
        ],
        "config": config.get("ProductionVariants"),
        "resources": place.resources(),
        "scaling": [[t["MinCapacity"], t["MaxCapacity"]] for t in targets["ScalableTargets"]],
        "kinds": [e["Kind"] for e in ledger.entries],
        "stack": ledger.stack,
        "pending": ledger.pending,
        "created": ledger.created(),
    }
    return json.loads(TIME.sub("TIME", json.dumps(found)))


def nameless(place, state):
    """A state as any other project would have it."""
    text = json.dumps(state).replace(place.name, "PROJECT")
    text = re.sub(r"(-v\d+)-[0-9a-f]{10}\b", r"\1-HASH", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)
    return json.loads(re.sub(r"\b[0-9a-f]{32}\b", "UNIQUE", text))
