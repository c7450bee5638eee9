"""How an endpoint gets from one state to the next: created, updated, rolled back, deleted.

    Stack     the fleets of one plan (see endpoints.py)
    Rollout   one update: blue is the stack that serves, green the one to come
    Hosting   all stacks, and one thread for each endpoint that is on its way to another state

An update shifts traffic by replacing the endpoint's route, so a request is always on one side of
it; a fleet is stopped only after no route leads to it. Between the shifts the alarms of
AutoRollbackConfiguration are watched. Each state is written before it is acted on, and what a
state asks for can be begun anew: a server killed in the middle takes it up at its next start.
"""

import math
import threading
import time
import traceback
from dataclasses import replace
from itertools import count as counted

from sagemaker_emulator.api import registry
from sagemaker_emulator.api.resources import Kind, name_of, region_of
from sagemaker_emulator.errors import invalid
from sagemaker_emulator.hosting.runtime import Lane, Route
from sagemaker_emulator.hosting.serving import Container, Fleet, ServingError

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
    born={"EndpointStatus": "Creating"},
)
STATE_EVENT = "SageMaker Endpoint State Change"
DEPLOYMENT_EVENT = "SageMaker Endpoint Deployment State Change"
DEFAULT_TIMEOUT_SECONDS = 28800
LOOK_SECONDS = 0.02  # between two looks at the alarms
MAX_REASON = 1024
BROKE = "InternalServerError: sagemaker_emulator broke, see server.log"


class RolledBack(Exception):
    """Why an update is given up, in the words of its FailureReason."""


class Closing(Exception):
    """The server ends; what is under way is taken up again by the next one."""


# What a DeploymentConfig may ask for


def check(sagemaker, policy, live, plan, region):
    """Refuse what AWS refuses, and alarms that there are not."""
    blue_green, rolling = policy.get("BlueGreenUpdatePolicy"), policy.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise invalid("Specify only one of BlueGreenUpdatePolicy and RollingUpdatePolicy.")
    names = [sorted(v["VariantName"] for v in side["Variants"]) for side in (live, plan)]
    if names[0] != names[1]:
        raise invalid(
            "With a DeploymentConfig the new endpoint configuration must have the variant names of"
            f" the old one: {', '.join(names[0])}; found {', '.join(names[1])}."
        )
    if any(variant["Serverless"] for variant in plan["Variants"]):
        raise invalid("DeploymentConfig is not supported for serverless inference.")
    if rolling and len(plan["Variants"]) > 1:
        raise invalid("RollingUpdatePolicy is not supported for several production variants.")
    for variant in plan["Variants"]:
        _check_sizes(blue_green or {}, rolling or {}, variant)
    timeout = (blue_green or rolling or {}).get("MaximumExecutionTimeoutInSeconds")
    waits = sum(wait for _, wait, _ in _steps(policy, plan))
    if timeout and waits >= timeout:
        raise invalid(
            f"MaximumExecutionTimeoutInSeconds ({timeout}) must exceed the sum of all waiting times"
            f" ({waits})."
        )
    for alarm in _alarms(policy):
        if sagemaker.metrics.alarm(region, alarm) is None:
            raise invalid(f'Could not find the alarm "{alarm}" of AutoRollbackConfiguration.')


def _check_sizes(blue_green, rolling, variant):
    routing = blue_green.get("TrafficRoutingConfiguration") or {}
    kind = routing.get("Type")
    for member, wanted in (("CanarySize", "CANARY"), ("LinearStepSize", "LINEAR")):
        if (kind == wanted) != bool(routing.get(member)):
            raise invalid(f"{member} is required for traffic routing {wanted}, and for it only.")
    _check_size("CanarySize", routing.get("CanarySize"), 1, variant)
    _check_size("LinearStepSize", routing.get("LinearStepSize"), 10, variant)
    _check_size("MaximumBatchSize", rolling.get("MaximumBatchSize"), 5, variant)
    back = rolling.get("RollbackMaximumBatchSize")
    if back and back["Type"] == "CAPACITY_PERCENT" and back["Value"] > 100:
        raise invalid("RollbackMaximumBatchSize must not exceed 100 percent.")


def _check_size(member, size, least, variant):
    if not size:
        return
    value, count, name = size["Value"], variant["Count"], variant["VariantName"]
    if size["Type"] == "CAPACITY_PERCENT":
        if not least <= value <= 50:
            raise invalid(f"{member} must be {least} to 50 percent of the capacity, not {value}.")
        value = 1
    if value > count / 2:
        raise invalid(
            f"{member} must be at most half of the instances: {value} of variant {name}'s {count}"
            " is more. Give the variant more instances, or shift traffic ALL_AT_ONCE."
        )


def _alarms(policy):
    alarms = ((policy or {}).get("AutoRollbackConfiguration") or {}).get("Alarms") or []
    return [alarm["AlarmName"] for alarm in alarms if alarm.get("AlarmName")]


def _share(size, plan):
    """A CapacitySize as a share of the traffic."""
    if size["Type"] == "CAPACITY_PERCENT":
        return min(size["Value"] / 100, 1.0)
    return min(size["Value"] / min(v["Count"] for v in plan["Variants"]), 1.0)


def _steps(policy, plan):
    """What an update does to the traffic: (green's share, seconds to bake, why so long)."""
    policy = policy or {}
    blue_green, rolling = policy.get("BlueGreenUpdatePolicy"), policy.get("RollingUpdatePolicy")
    if rolling:
        wait = rolling["WaitIntervalInSeconds"]
        shares = _shares(_share(rolling["MaximumBatchSize"], plan))
        return [(share, wait, "WaitIntervalInSeconds") for share in shares]
    routing = (blue_green or {}).get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE"}
    if routing["Type"] == "CANARY":
        shares = [_share(routing["CanarySize"], plan), 1.0]
    elif routing["Type"] == "LINEAR":
        shares = _shares(_share(routing["LinearStepSize"], plan))
    else:
        shares = [1.0]
    wait = routing.get("WaitIntervalInSeconds") or 0
    last = (blue_green or {}).get("TerminationWaitInSeconds") or 0
    steps = [(share, wait, "WaitIntervalInSeconds") for share in shares[:-1]]
    return [*steps, (1.0, last, "TerminationWaitInSeconds")]


def _shares(step):
    number = math.ceil(round(1 / step, 6))
    return [*(step * n for n in range(1, number)), 1.0]


class Stack:
    """The fleets of one plan, shadows included."""

    def __init__(self, sagemaker, arn, plan, lazy=False):
        self.plan = plan
        self.fleets = {}
        self.started = lazy  # by us; a lazy fleet is started by its first request
        self.mixed = None  # the stack that serves as well, after a rollback that failed
        for variant in [*plan["Variants"], *plan["Shadows"]]:
            name, environment = variant["VariantName"], variant["Environment"] or {}
            container = Container(variant["Image"], variant["ModelDataUrl"], environment)
            if seconds := variant.get("StartupSeconds"):
                container = replace(container, startup_seconds=seconds)
            fleet = Fleet(sagemaker, name_of(arn), name, container, lazy, region_of(arn))
            fleet.count = variant["Count"]
            self.fleets[name] = fleet

    def size(self, share=1.0):
        """Bring each fleet to its share of the instances; ServingError where one cannot start."""
        for variant in [*self.plan["Variants"], *self.plan["Shadows"]]:
            fleet = self.fleets[variant["VariantName"]]
            count = max(1, math.ceil(round(variant["Count"] * share, 6)))
            if not self.started:
                fleet.start(count)
            elif fleet.count != count:
                fleet.resize(count)
        self.started = True

    def stop(self):
        for fleet in self.fleets.values():
            fleet.stop()
        if self.mixed:
            self.mixed.stop()

    def lanes(self, member="Variants"):
        return tuple(self._lane(variant) for variant in self.plan[member])

    def _lane(self, variant):
        name, serverless = variant["VariantName"], variant["Serverless"] or {}
        return Lane(name, self.fleets[name], variant["Weight"], serverless.get("MaxConcurrency"))


class Rollout:
    """One update of an endpoint, from blue to green."""

    def __init__(self, hosting, document, blue, green):
        self.hosting = hosting
        self.sagemaker = hosting.sagemaker
        self.arn = document["EndpointArn"]
        self.blue, self.green = blue, green
        self.policy = document.get("Policy") or {}
        self.rolling = self.policy.get("RollingUpdatePolicy")
        self.begun = time.time()
        limits = self.rolling or self.policy.get("BlueGreenUpdatePolicy") or {}
        self.limit = limits.get("MaximumExecutionTimeoutInSeconds") or DEFAULT_TIMEOUT_SECONDS
        self.deadline = time.monotonic() + self.sagemaker.seconds(self.limit)

    def run(self):
        total = sum(variant["Count"] for variant in self.green.plan["Variants"])
        self.stage("Creating", f"Launching {total} instance(s).", 0.0)
        if not self.rolling:
            self.green.size()
        for share, seconds, why in _steps(self.policy, self.green.plan):
            self.watch()
            kind = "full" if share == 1 else "batch" if self.rolling else "canary"
            capacity = f"{kind} capacity of {math.ceil(round(total * share, 6))} instance(s)."
            self.stage("ActivatingTraffic", f"Activating traffic on {capacity}", share)
            if self.rolling:
                self.green.size(share)
            self.shift(share)
            if self.rolling and share < 1:
                self.blue.size(1 - share)
            about = f"Baking for {seconds} seconds ({why}) with traffic enabled on {capacity}"
            self.stage("Baking", about, share)
            self.bake(seconds)

    def shift(self, share):
        self.hosting.route(self.arn, self.blue, self.green, share)

    def bake(self, seconds):
        end = time.monotonic() + self.sagemaker.seconds(seconds)
        self.watch()
        while (left := end - time.monotonic()) > 0:
            self.hosting.wait(min(left, LOOK_SECONDS) if _alarms(self.policy) else left)
            self.watch()

    def watch(self):
        if time.monotonic() > self.deadline:
            raise RolledBack(
                f"The deployment took longer than its limit of {self.limit} seconds"
                " (MaximumExecutionTimeoutInSeconds)."
            )
        tripped = [
            name
            for name in _alarms(self.policy)
            if self.sagemaker.metrics.tripped(region_of(self.arn), name, self.begun)
        ]
        if tripped:
            raise RolledBack(
                "One or more alarms of AutoRollbackConfiguration went into the ALARM state during"
                f" the deployment: {', '.join(tripped)}."
            )

    def stage(self, status, message, share):
        stage = {"Status": status, "StatusMessage": message, "StartTime": time.time()}
        self.hosting.set(self.arn, None, Stage=stage | {"Share": share})

    def back(self, reason):
        """All traffic to blue; ServingError where blue cannot be brought back."""
        self.hosting.set(self.arn, "RollingBack", FailureReason=reason)
        if self.rolling:
            size = self.rolling.get("RollbackMaximumBatchSize")
            step = _share(size, self.blue.plan) if size else 1.0
            for share in _shares(step):
                self.blue.size(share)
                self.shift(1 - share)
        self.hosting.route(self.arn, self.blue)
        self.green.stop()


class Hosting:
    def __init__(self, sagemaker):
        self.sagemaker = sagemaker
        self.store = sagemaker.store
        self.stacks = {}  # {endpoint's ARN: the Stack that serves}
        self.closing = threading.Event()
        self.numbers = counted(1)

    def recover(self):
        for document in self.store.list(ENDPOINT.name):
            arn, status = document["EndpointArn"], document["EndpointStatus"]
            if document.get("Live") and status != "Deleting":
                self.stacks[arn] = stack = Stack(self.sagemaker, arn, document["Live"], lazy=True)
                self.route(arn, stack)
            if status == "RollingBack":
                self._rest(arn, document["Live"])
            elif status in WORK:
                self.start(arn)

    def close(self):
        """Nothing goes on; the store says what was meant to."""
        self.closing.set()

    def start(self, arn):
        name = f"endpoint-{name_of(arn)}-{next(self.numbers)}"
        threading.Thread(target=self._run, args=(arn,), name=name, daemon=True).start()

    def _run(self, arn):
        document = self.store.get(arn)
        try:
            WORK[document["EndpointStatus"]](self, document)
        except Closing:
            pass
        except Exception as error:
            self.set(arn, "Failed", FailureReason=_reason(error), Stage=None)

    def wait(self, seconds):
        if self.closing.wait(seconds):
            raise Closing

    def set(self, arn, status, **changes):
        """Write what is next, and tell EventBridge."""
        changes |= {"LastModifiedTime": time.time()}
        changes |= {"EndpointStatus": status} if status else {}
        document = self.store.update(arn, **changes)
        if status:
            registry.announce(self.sagemaker, STATE_EVENT, arn, _event(document))
        if document.get("Stage"):
            registry.announce(self.sagemaker, DEPLOYMENT_EVENT, arn, _event(document))
        return document

    def route(self, arn, blue, green=None, share=0.0):
        """Send requests to blue and, for a share of them, to green."""
        last = green if green and share == 1 else blue
        self.sagemaker.runtime.routes[(region_of(arn), name_of(arn))] = Route(
            name_of(arn),
            last.lanes() if share in (0, 1) else blue.lanes(),
            green.lanes() if green and 0 < share < 1 else (),
            share if 0 < share < 1 else 0.0,
            last.lanes("Shadows"),
            last.plan.get("DataCaptureConfig"),
            last.plan.get("AsyncInferenceConfig"),
        )

    def _rest(self, arn, plan, **changes):
        return self.set(arn, "InService", Live=plan, Next=None, Stage=None, Policy=None, **changes)

    # What each state asks for

    def create(self, document):
        arn, plan = document["EndpointArn"], document["Next"]
        stack = Stack(self.sagemaker, arn, plan)
        try:
            stack.size()
        except Exception as error:
            self.wait(0)
            stack.stop()
            self.set(arn, "Failed", FailureReason=_reason(error), Stage=None)
            return
        self.stacks[arn] = stack
        self.route(arn, stack)
        self._rest(arn, plan, EndpointConfigName=plan["EndpointConfigName"])

    def update(self, document):
        if "Next" not in document:
            return self.rescale(document)
        arn, plan = document["EndpointArn"], document["Next"]
        blue, green = self.stacks[arn], Stack(self.sagemaker, arn, plan)
        rollout = Rollout(self, document, blue, green)
        try:
            rollout.run()
        except Closing:
            raise
        except Exception as error:
            self.wait(0)
            self._roll_back(rollout, _reason(error))
            return
        self.stacks[arn] = green
        changes = {"LastDeploymentConfig": document["Policy"]} if document.get("Policy") else {}
        self._rest(arn, plan, EndpointConfigName=plan["EndpointConfigName"], **changes)
        self.route(arn, green)
        blue.stop()

    def _roll_back(self, rollout, reason):
        try:
            rollout.back(reason)
        except ServingError as error:
            rollout.blue.mixed = rollout.green
            both = f"{reason} The rollback failed: {error}"[:MAX_REASON]
            self.set(rollout.arn, "UpdateRollbackFailed", FailureReason=both, Stage=None, Next=None)
            return
        self._rest(rollout.arn, rollout.blue.plan)

    def rescale(self, document):
        """Weights and capacities of the configuration that is live."""
        arn, live = document["EndpointArn"], document["Live"]
        stack, before = self.stacks[arn], self.stacks[arn].plan
        after = live | {
            member: [_arrived(variant) for variant in live[member]]
            for member in ("Variants", "Shadows")
        }
        stack.plan = after
        try:
            stack.size()
        except ServingError as error:
            self.set(arn, "RollingBack", FailureReason=_reason(error))
            stack.plan = after = before
            stack.size()
            self._rest(arn, after)
            return
        self.route(arn, stack)
        self._rest(arn, after)

    def delete(self, document):
        arn = document["EndpointArn"]
        self.sagemaker.runtime.forget(region_of(arn), name_of(arn))
        if stack := self.stacks.pop(arn, None):
            stack.stop()
        self.sagemaker.neighbours.deregister(region_of(arn), name_of(arn))
        self.sagemaker.jobs.logs.keep(arn)
        self.store.delete(arn)


WORK = {"Creating": Hosting.create, "Updating": Hosting.update, "Deleting": Hosting.delete}


def _reason(error):
    """The FailureReason; what is no failure of the model's is one of ours."""
    if isinstance(error, ServingError | RolledBack):
        return str(error)[:MAX_REASON]
    traceback.print_exception(error)
    return BROKE


def _arrived(variant):
    """A variant that has what was wanted of it."""
    kept = {k: v for k, v in variant.items() if not k.startswith("Desired")}
    return kept | {k.removeprefix("Desired"): v for k, v in variant.items() if k not in kept}


# How an endpoint is described


def described(document):
    live, plan, stage = document.get("Live"), document.get("Next"), document.get("Stage")
    answer = dict(document)
    shown = live or plan or {}
    if live:
        answer["ProductionVariants"] = [_summary(v) for v in live["Variants"]]
        if live["Shadows"]:
            answer["ShadowProductionVariants"] = [_summary(v) for v in live["Shadows"]]
    if live and plan:
        answer["PendingDeploymentSummary"] = _pending(plan, stage)
    if capture := shown.get("DataCaptureConfig"):
        on = capture.get("EnableCapture", True)
        answer["DataCaptureConfig"] = capture | {
            "EnableCapture": bool(on),
            "CaptureStatus": "Started" if on else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "KmsKeyId": capture.get("KmsKeyId") or "",
        }
    if shown.get("AsyncInferenceConfig"):
        answer["AsyncInferenceConfig"] = shown["AsyncInferenceConfig"]
    return answer


def _summary(variant):
    summary = _common(variant)
    summary["DesiredWeight"] = variant.get("DesiredWeight", variant["Weight"])
    if serverless := variant["Serverless"]:
        summary["CurrentServerlessConfig"] = serverless
        summary["DesiredServerlessConfig"] = variant.get("DesiredServerless", serverless)
        return summary | {"CurrentInstanceCount": 0, "DesiredInstanceCount": 0}
    wanted = variant.get("DesiredCount", variant["Count"])
    if wanted != variant["Count"]:
        message = f"Scaling desired instance count to {wanted}."
        summary["VariantStatus"] = [{"Status": "Updating", "StatusMessage": message}]
    return summary | {"CurrentInstanceCount": variant["Count"], "DesiredInstanceCount": wanted}


def _common(variant):
    image = {
        "SpecifiedImage": variant["Image"],
        "ResolvedImage": variant["ResolvedImage"],
        "ResolutionTime": variant["ResolutionTime"],
    }
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [image],
        "CurrentWeight": variant["Weight"],
        "DesiredWeight": variant["Weight"],
        "RoutingConfig": variant.get("RoutingConfig"),
    }


def _pending(plan, stage):
    stage = stage or {"Status": "Creating", "Share": 0.0}
    summary = {
        "EndpointConfigName": plan["EndpointConfigName"],
        "StartTime": stage.get("StartTime"),
    }
    summary["ProductionVariants"] = [_pending_variant(v, stage) for v in plan["Variants"]]
    if plan["Shadows"]:
        summary["ShadowProductionVariants"] = [_pending_variant(v, stage) for v in plan["Shadows"]]
    return summary


def _pending_variant(variant, stage):
    status = {k: v for k, v in stage.items() if k != "Share"}
    summary = _common(variant) | {"VariantStatus": [status]}
    if variant["Serverless"]:
        return summary | {"DesiredServerlessConfig": variant["Serverless"]}
    return summary | {
        "InstanceType": variant["InstanceType"],
        "CurrentInstanceCount": math.ceil(round(variant["Count"] * stage["Share"], 6)),
        "DesiredInstanceCount": variant["Count"],
    }


def _event(document):
    """The detail of an event: what Describe tells, with times in milliseconds."""
    members = ("EndpointName", "EndpointArn", "EndpointConfigName", "FailureReason")
    detail = {name: document[name] for name in members if name in document}
    status = document["EndpointStatus"]
    detail["EndpointStatus"] = "".join(
        f"_{c}" if c.isupper() and n else c for n, c in enumerate(status)
    ).upper()
    for name in ("CreationTime", "LastModifiedTime"):
        detail[name] = int(document[name] * 1000)
    answer = described(document)
    for name in ("ProductionVariants", "PendingDeploymentSummary"):
        if name in answer:
            detail[name] = answer[name]
    detail["Tags"] = {tag["Key"]: tag["Value"] for tag in document.get("Tags") or []}
    return detail
