"""Do the steps of a plan in order, so that it can be killed between any two and run again.

HANDLERS has one handler for each kind of step; a kind without one raises. What was begun and cannot
be finished is undone in undo.py.
"""

import signal
from collections.abc import Callable
from typing import Any, NoReturn

from sagemaker_project.deploy import ledger_writer, smoke_test, undo
from sagemaker_project.deploy.aws import Conflict, sha256_of
from sagemaker_project.deploy.calls import Call, Members
from sagemaker_project.deploy.cleanup import cleaned_up
from sagemaker_project.deploy.container import artifact_of
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.creation import altered_copy
from sagemaker_project.deploy.evidence import State, is_changing, not_deployable_because
from sagemaker_project.deploy.interrupted import modified
from sagemaker_project.deploy.ledger import Snapshot
from sagemaker_project.deploy.lock import Lock
from sagemaker_project.deploy.recovery import recovery
from sagemaker_project.deploy.rollback import restoration
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.steps import (
    CheckApproval,
    CheckOutcome,
    CopyArtifact,
    DeleteUnused,
    LastLook,
    Plan,
    RecordEntry,
    RestoreVariants,
    SendCall,
    SmokeTest,
    Step,
    WaitForEndpoint,
)
from sagemaker_project.errors import AwsError, DeployFailed, NeedsHuman, Refused, Unavailable

BEGINS = ("CreateEndpoint", "UpdateEndpoint")
ENDS = (["Promoted"], ["RolledBack"], ["Failed"])  # the only entries of a plan that continues
OUTAGE_SECONDS = 15  # between two looks while AWS does not answer
CONFIG = "EndpointConfigName"
LOOK_SECONDS = 1  # between two looks at an endpoint that something else changes
STALE_LOOKS = 6  # some seconds, in which AWS may not show yet what has just begun


class Executor:
    """Does a plan. `state` is what it was made from, `ledger` grows with each entry.

    `started` is the Started entry of the deployment that has begun and not ended. `sent` tells
    whether SageMaker was asked to change the endpoint, by this run or by the one that it continues.
    """

    def __init__(self, context: Context, state: State, lock: Lock) -> None:
        self.context, self.state, self.lock = context, state, lock
        self.aws, self.target, self.say = context.aws, context.target, context.say
        self.ledger = state.ledger
        self.endpoint = state.endpoint  # as last described
        self.started: Members | None = None
        self.sent = False
        self.told_of_outage = False
        self.deleted: list[Call] = []  # by a clean-up

    def do(self, plan: Plan) -> None:
        """Do all steps in order.

        Raises:
            DeployFailed: the new version does not serve; what served before does again.
            NeedsHuman: neither of them serves, or the lock was lost.
            Refused, AwsError: a step cannot be done; what was begun was undone, if that is known.
        """
        self.aws.begun = True
        if not plan.steps:
            return
        records = [step for step in plan.steps if isinstance(step, RecordEntry)]
        if [step.kind for step in records] in ENDS:
            self.started = self.ledger.pending
        self.sent = not any(call.operation in BEGINS for call in plan.calls)
        try:
            for step in plan.steps:
                self.lock.renew()
                if step is records[-1]:
                    _ignore_signals()
                self.do_step(step)
        except DeployFailed as error:
            undo.end_as_failed(self, str(error))
            raise
        except (AwsError, Refused) as error:
            # Where SageMaker was asked already, or it is unknown, running again finds out.
            if not self.sent and error.exit_code != Unavailable.exit_code:
                undo.end_as_failed(self, str(error))
            raise

    def do_step(self, step: Step) -> None:
        handler = HANDLERS.get(type(step))
        if handler is None:
            raise TypeError(f"{type(step).__name__}: the executor has no handler for this step")
        handler(self, step)

    def record(self, step: RecordEntry) -> None:
        self.append(step.kind, step.entry)

    def append(self, kind: str, entry: Members) -> None:
        """Append an entry to the ledger."""
        if kind == "Started":
            entry = {**entry, **modified(self.state.endpoint)}
        self.ledger = ledger_writer.append(self.context, self.ledger, kind, entry, self.endpoint)
        self.started = self.ledger.entries[-1] if kind == "Started" else None

    def send_call(self, step: SendCall) -> None:
        self.send(step.call)

    def send(self, call: Call) -> None:
        """Send a call that changes something, if the lock is still held."""
        self.lock.renew()
        self.say(f"{call.operation} {call.resource}")
        self.aws.change(call)
        self.sent = self.sent or call.operation in BEGINS

    def copy_artifact(self, step: CopyArtifact) -> None:
        """Upload the very bytes whose sha256 was compared; never replace a copy.

        Raises:
            Refused: the source, or a copy that came to exist meanwhile, holds other bytes.
        """
        with self.aws.downloaded(step.source) as (file, answer):
            found = sha256_of(file) if answer else ""
            if found != step.sha256:
                what = f"was replaced (its sha256 is {found} now)" if found else "was deleted"
                raise Refused(
                    f"{step.source} {what} after it had been checked (sha256 {step.sha256}), so it"
                    " is not deployed. Find out who changed it; to go on, register the model anew"
                )
            call = Call(step.call.service, step.call.operation, {**step.call.members, "Body": file})
            try:
                self.send(call)
            except Conflict:
                url = f"s3://{call.members['Bucket']}/{call.resource}"
                other = self.aws.sha256_of(url) or "unknown"
                raise Refused(altered_copy(self.target, url, other, step.sha256)) from None

    def delete_unused(self, step: DeleteUnused) -> None:
        """Delete a resource that does not serve; it may have been put back by hand a moment ago.

        Raises:
            Unavailable: it serves; what the clean-up deleted before is in the ledger then.
        """
        endpoint = self.aws.endpoint(self.target.endpoint) or {}
        pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        serving = {endpoint.get("EndpointConfigName"), pending} - {None}
        models = {
            variant["ModelName"]
            for name in (serving if step.call.operation != "DeleteEndpointConfig" else ())
            for variant in all_variants(self.aws.endpoint_config(str(name)))
        }
        artifacts = {
            artifact_of(self.aws.model(name))
            for name in (models if step.call.operation == "DeleteObject" else ())
        }
        if step.call.resource in serving | models | artifacts:
            if self.deleted:
                self.append("CleanedUp", cleaned_up(self.deleted))
            raise Unavailable(
                f"{step.call.resource} has come into service meanwhile: it is not deleted"
            )
        self.send(step.call)
        self.deleted.append(step.call)

    def check_approval(self, step: CheckApproval) -> None:
        package = self.aws.package(step.package_arn)
        if package is None:
            raise Refused(f"{step.package_arn} was deleted meanwhile")
        if reason := not_deployable_because(package, self.target):
            raise Refused(reason)

    # The endpoint

    def described(self) -> Members | None:
        """Describe the endpoint; while AWS does not answer, ask again until the deadline."""
        while True:
            try:
                return self.aws.endpoint(self.target.endpoint)
            except Unavailable as outage:
                self.sit_out(outage)
            self.pause(OUTAGE_SECONDS)

    def sit_out(self, outage: Unavailable) -> None:
        """Say once that AWS does not answer; raise `outage` where the deadline is over."""
        if self.context.clock.monotonic() >= self.aws.deadline:
            raise outage
        if not self.told_of_outage:
            self.told_of_outage = True
            why = str(outage).partition(". ")[0]
            self.say(f"{why}: waiting until it answers, or the time of --timeout is over")

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than the command's deadline; an outage of AWS does not end it."""
        try:
            self.lock.renew()
        except Unavailable as outage:  # nothing is sent before the lock is renewed
            self.sit_out(outage)
        clock = self.context.clock
        clock.sleep(max(0, min(seconds, self.aws.deadline - clock.monotonic())))
        self.aws.check_deadline(
            f"{self.target.endpoint} is still on its way, and the time of --timeout is over"
        )

    def wait_for_endpoint(self, step: WaitForEndpoint) -> None:
        self.wait_for(step.endpoint_config)

    def wait_for(self, wanted: str) -> None:
        """Wait until the endpoint is steady, and find out whether it runs `wanted`."""
        clock = self.context.clock
        began, looks, said, changed = clock.monotonic(), 0, None, False
        while True:
            endpoint = self.described()
            status = endpoint["EndpointStatus"] if endpoint else "is not there"
            if status != said:
                said = status
                self.say(f"{self.target.endpoint} {status}")
            changed = changed or is_changing(endpoint)
            if not is_changing(endpoint):
                arrived = endpoint is not None and (
                    status != "InService" or endpoint["EndpointConfigName"] == wanted
                )
                if changed or arrived or looks == STALE_LOOKS:
                    return self.check_endpoint(endpoint, wanted)
                looks += 1
            elapsed = clock.monotonic() - began
            self.pause(min(30, max(0.05 * 2**looks, elapsed / 100)))

    def check_outcome(self, step: CheckOutcome) -> None:
        self.check_endpoint(self.state.endpoint, step.endpoint_config)

    def check_endpoint(self, endpoint: Members | None, wanted: str) -> None:
        """Raise unless the endpoint runs `wanted`.

        SageMaker calls an update that it rolled back InService, so the configuration decides.
        """
        name, self.endpoint = self.target.endpoint, endpoint
        if endpoint is None:
            raise NeedsHuman(f"{name} was deleted while it was being updated")
        status, reason = endpoint["EndpointStatus"], endpoint.get("FailureReason")
        if status == "InService" and endpoint["EndpointConfigName"] == wanted:
            return
        why = reason or "SageMaker gives no reason; see the alarms and the endpoint's log"
        if status == "InService":
            raise DeployFailed(
                f"SageMaker rolled back to {endpoint['EndpointConfigName']}, which serves: {why}"
            )
        if self.creates_endpoint:
            raise DeployFailed(f"{name} is {status}: {why}")
        raise NeedsHuman(f"{name} is {status}: {why}. {recovery(self.target, status, self.ledger)}")

    @property
    def creates_endpoint(self) -> bool:
        """Whether the deployment that has begun is the first one of the endpoint."""
        begun = self.started
        return (
            begun is not None
            and begun["Action"] == "promote"
            and begun["Deployment"]["Before"] is None
        )

    def smoke_test(self, step: SmokeTest) -> None:
        """Try the new version; put the one before it back where the new one does not answer."""
        try:
            smoke_test.smoke_test(self.context, step, self.described())
        except DeployFailed as error:
            self.take_back(error)

    def take_back(self, error: DeployFailed) -> NoReturn:
        """Put the version before the new one back, and raise why.

        What a first deployment created is deleted later, when it is recorded as failed.
        """
        before: Snapshot | None = self.started["Deployment"]["Before"] if self.started else None
        new = self.started["Deployment"]["EndpointConfigName"] if self.started else None
        if before is None or before["EndpointConfigName"] == new:
            raise error
        name = undo.put_back(self, before, str(error))
        raise DeployFailed(f"{error}; {name} serves again") from None

    def last_look(self, step: LastLook) -> None:
        """Raise unless all is as it was decided on.

        Raises:
            NeedsHuman: another configuration serves, the lock was lost or the ledger was changed.
            DeployFailed: the version may not serve any more; the one before it does again.
        """
        name = self.target.endpoint
        while is_changing(endpoint := self.aws.endpoint(name)):
            self.pause(LOOK_SECONDS)
        status, live = (endpoint or {}).get("EndpointStatus"), (endpoint or {}).get(CONFIG)
        if (status, live) != ("InService", step.endpoint_config):
            found = f"is {status} with {live}" if endpoint else "does not exist any more"
            raise NeedsHuman(
                f"{name} {found}; this command made {step.endpoint_config} serve, and something"
                f" else changed it since. Find out what: {self.target.command('status')}; then run"
                " this command again"
            )
        self.lock.renew()
        ledger_writer.check_last(self.context, self.ledger)
        if reason := self.may_not_serve(step):
            self.take_back(DeployFailed(reason))

    def may_not_serve(self, step: LastLook) -> str:
        """Return why the new version must not stay in service; empty where it may."""
        for arn in step.packages:
            package = self.aws.package(arn)
            reason = not_deployable_because(package, self.target) if package else "it was deleted"
            if reason:
                return f"version {arn.rpartition('/')[2]} was withdrawn meanwhile: {reason}"
        alarms = self.aws.alarms(list(step.alarms))
        for alarm in step.alarms:
            if alarm not in alarms:
                return f"the alarm {alarm}, which guards the deployment, was deleted meanwhile"
            if alarms[alarm]["StateValue"] == "ALARM":
                return f"the alarm {alarm} is in ALARM"
        return ""

    def restore_variants(self, step: RestoreVariants) -> None:
        self.restore(step.snapshot)

    def restore(self, snapshot: Snapshot) -> None:
        """Give the variants the weights and counts of a snapshot."""
        endpoint = self.described()
        call = restoration(self.target.endpoint, endpoint, snapshot) if endpoint else None
        if endpoint and call:
            self.send(call)
            self.wait_for(endpoint["EndpointConfigName"])


HANDLERS: dict[type, Callable[[Executor, Any], None]] = {
    RecordEntry: Executor.record,
    SendCall: Executor.send_call,
    CopyArtifact: Executor.copy_artifact,
    DeleteUnused: Executor.delete_unused,
    CheckApproval: Executor.check_approval,
    WaitForEndpoint: Executor.wait_for_endpoint,
    CheckOutcome: Executor.check_outcome,
    SmokeTest: Executor.smoke_test,
    LastLook: Executor.last_look,
    RestoreVariants: Executor.restore_variants,
}


def _ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM from here on.

    The work is complete but for its last ledger entry. A rerun without that entry would repeat the
    work.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
