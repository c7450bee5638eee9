"""Runs of `deploy-model` that are cut short at a call to AWS, and what they leave behind.

A run is a child process of its own. In front of each call and behind each answer is a boundary;
the first run counts them, the next ones end at one of them. So a call that is added later is
tried by itself. Reads that follow each other and are the same operation (the entries of the ledger,
the looks at an endpoint that is waited for, invocations) count as one: how many there are is a
matter of time, and nothing changes between them.
"""

import functools
import gc
import json
import os
import random
import re
import signal
import threading
import time
import traceback
from dataclasses import dataclass

from deploy_helpers import BUCKET, READS, until

SAFE = (*READS, "Invoke")
TIME = re.compile(r"20\d\d-\d\d-\d\dT[0-9:.+]*")


@dataclass
class Ended:
    """What became of a run: by which signal it ended, else its result."""

    signal: int | None
    result: dict | None
    calls: list  # in front of which it came, as `call_of` names them, in order

    @property
    def boundaries(self):
        """The operations of these calls."""
        return [call.partition(" ")[0] for call in self.calls]

    @property
    def numbered(self):
        """These calls, each with how often it had been there: (call, 1), (call, 2)."""
        return {(call, self.calls[: n + 1].count(call)) for n, call in enumerate(self.calls)}

    @property
    def changed(self):
        """Whether it asked for anything that changes something."""
        return any(map(changes, self.boundaries))


class Cut:
    """Does something, once, at the boundary of number `at` (the first is 1), or at the first one of
    the operation `at` or, where it is a set, whose (call, how often it was there) it lacks.

    It does so in front of the call, or where `behind` and the call changes something, behind its
    answer. What it returns takes the place of the answer.
    """

    def __init__(self, report, at=None, act=None, behind=False):
        self.report, self.at, self.act, self.behind = report, at, act, behind
        self.seen, self.lock = [], threading.Lock()
        self.thread = threading.local()  # whether its call is the one; the lock's keeper calls too

    def install(self, clients):
        import boto3

        events = [boto3._get_default_session().events]  # of clients that are made from now on
        for bus in events + [client.meta.events for client in clients]:
            bus.register("before-call", self.before)
            bus.register("after-call", self.after)

    def before(self, model, params, **_):
        with self.lock:
            call = call_of(model.name, params)
            if self.seen[-1:] == [call] and not changes(call):
                return None
            self.seen.append(call)
            os.write(self.report, f"{call}\n".encode())
            self.thread.here = self._is_at(call)
            if self.thread.here and not (self.behind and changes(model.name)):
                return self._do(model.name)
            return None

    def after(self, model, **_):
        if getattr(self.thread, "here", False) and self.behind and changes(model.name):
            self._do(model.name)

    def _is_at(self, call):
        if isinstance(self.at, str):
            return call.partition(" ")[0] == self.at
        if isinstance(self.at, set):
            return (call, self.seen.count(call)) not in self.at
        return len(self.seen) == self.at

    def _do(self, operation):
        self.at, self.thread.here = None, False
        return self.act(operation)


def call_of(operation, params):
    """An operation, with the object that it writes."""
    written = changes(operation) and params["url_path"].rpartition("/")[2]
    return f"{operation} {written}" if written else operation


def changes(operation):
    return not operation.startswith(SAFE)


def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


def stop(operation):
    """A change is stopped as a build is, a read by Ctrl-C."""
    os.kill(os.getpid(), signal.SIGTERM if changes(operation) else signal.SIGINT)


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
        CLIENTS.in_child = True
        Cut(report, **cut).install(CLIENTS.spare.values())
        result = place.deploy(*words, stage=stage)
    except BaseException:
        result = {"traceback": traceback.format_exc()}
    os.write(report, json.dumps(result).encode())
    os._exit(0)


def together(place, commands, seconds):
    """The results of commands that begin at the same moment, each in a process of its own.

    A command that ends as `Busy` is run again.
    """
    start, go = os.pipe()
    children = []
    for words in commands:
        result_end, result_start = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            _insist(place, words, start, result_start, time.monotonic() + seconds)
        os.close(result_start)
        children.append((pid, result_end))
    os.close(go)
    os.close(start)
    return [_result(*child) for child in children]


def _result(pid, result_end):
    with open(result_end) as file:
        result = json.load(file)
    os.waitpid(pid, 0)
    return result


def _insist(place, words, start, report, deadline):
    try:
        gc.disable()
        random.seed(os.getpid())
        os.read(start, 1)  # until the last one of us is there
        busy = []
        while (result := place.deploy(*words))["ExitCode"] == 4 and time.monotonic() < deadline:
            busy.append(result["Message"])
            time.sleep(random.uniform(0.5, 2))
        result["Busy"] = busy
    except BaseException:
        result = {"Busy": [], "ExitCode": None, "Message": traceback.format_exc()}
    os.write(report, json.dumps(result).encode())
    os._exit(0)


class Clients:
    """Clients are made once, which takes longer than their calls; a child has those that its
    parent has never used, so no two processes share a connection."""

    def __init__(self):
        self.used, self.spare, self.in_child = {}, {}, False
        self.owners = {}  # {boto3 client: what it tells of its answers}

    def install(self, patch):
        from sagemaker_project import usage
        from sagemaker_project.deploy import client

        make = client.Client._new_client

        def new_client(owner, service, retries):
            if service == "sagemaker-runtime":
                return make(owner, service, retries)
            if service not in self.used:
                for made in (self.used, self.spare):
                    made[service] = make(owner, service, retries)
                    self.owners[made[service]] = owner
            found = (self.spare if self.in_child else self.used)[service]
            self.hand_over(found, owner)
            return found

        self.used.clear(), self.spare.clear(), self.owners.clear()
        patch.setattr(client.Client, "_new_client", new_client)
        patch.setattr(usage, "check_region", lambda *_: None)

    def hand_over(self, found, owner):
        """Let a client tell another owner of its answers: its deadline and its lock count."""
        before, events = self.owners[found], found.meta.events
        events.unregister("needs-retry", before._before_a_retry)
        events.unregister("before-parse", before._learn_time)
        events.unregister("before-send", before._check_fence)
        owner._listen(found)
        self.owners[found] = owner


CLIENTS = Clients()


# What is left behind


def ledger_of(place, stage="staging"):
    from sagemaker_project.deploy.ledger import Ledger

    prefix = f"{place.name}/deploy/{stage}/ledger/"
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return Ledger(tuple(_entry(place.cloud, item["Key"], item["ETag"]) for item in listed))


@functools.cache
def _entry(cloud, key, etag):
    return json.loads(cloud.s3.get_object(Bucket=BUCKET, Key=key, IfMatch=etag)["Body"].read())


def lock_key(place, stage="staging"):
    return f"{place.name}/deploy/{stage}/lock.json"


def locked(place, stage="staging"):
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix=lock_key(place, stage))
    return "Contents" in listed


def unlock(place, stage="staging"):
    place.s3.delete_object(Bucket=BUCKET, Key=lock_key(place, stage))


def state(place, stage="staging"):
    """All that a command may change but for the lock, without what differs from day to day."""
    endpoint = until(lambda: endpoint_or_its_absence(place, stage))
    live = endpoint.get("EndpointConfigName")
    config = place.sm.describe_endpoint_config(EndpointConfigName=live) if live else {}
    ledger = ledger_of(place, stage)
    targets = scaling_client(place.cloud).describe_scalable_targets(
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


def endpoint_or_its_absence(place, stage):
    """What describes the endpoint, without members if there is none, None while it goes away."""
    try:
        endpoint = place.endpoint(stage)
    except place.sm.exceptions.ClientError:
        return {"EndpointStatus": None}
    return endpoint if endpoint["EndpointStatus"] != "Deleting" else None


@functools.cache
def scaling_client(cloud):
    return cloud.client("application-autoscaling")


def forget_policies(place, stage="staging"):
    """Those of a deregistered scalable target: AWS forgets them with it, moto does not."""
    scaling = scaling_client(place.cloud)
    there = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{place.name}-{stage}/variant/All",
    }
    for policy in scaling.describe_scaling_policies(**there)["ScalingPolicies"]:
        dimension = policy["ScalableDimension"]
        scaling.delete_scaling_policy(
            PolicyName=policy["PolicyName"], ScalableDimension=dimension, **there
        )


def nameless(place, state):
    """A state as any other project would have it."""
    text = json.dumps(state).replace(place.name, "PROJECT")
    text = re.sub(r"(-v\d+)-[0-9a-f]{10}\b", r"\1-HASH", text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)
    return json.loads(re.sub(r"\b[0-9a-f]{32}\b", "UNIQUE", text))


def needed(place, stage="staging"):
    """(names that must be there, names that may be): live, to go back to, about to come."""
    from sagemaker_project.deploy.ledger import artifact_keys

    ledger, live = ledger_of(place, stage), place.live(stage)
    must, may = {f"{place.name}-{stage}", live} if live else set(), set()
    if live:
        config = place.sm.describe_endpoint_config(EndpointConfigName=live)
        for variant in config["ProductionVariants"]:
            model = place.sm.describe_model(ModelName=variant["ModelName"])
            url = model["PrimaryContainer"].get("ModelDataUrl", "")
            must |= {variant["ModelName"], url.removeprefix(f"s3://{BUCKET}/")} - {""}
    pending = ledger.pending or {}
    for names, deployments in (
        (must, [ledger.current, ledger.rollback_target]),
        (may, [pending.get("Deployment"), pending.get("Leaves")]),
    ):
        for deployment in filter(None, deployments):
            names |= {deployment["EndpointConfigName"], *deployment["Models"]}
            names |= set(artifact_keys(deployment))
    return must, must | may
