"""How an endpoint gets from one state to the next: created, updated, rolled back, deleted.

Each state is written to the store before it is acted on, and the action of a state can be repeated:
a server that was killed in between resumes at its next start. An update replaces the
endpoint's route, so a request is always on one side of it, and fleets stop only after no route
leads to them.
"""

import itertools
import threading
from collections.abc import Callable

from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.api.resources import name_of, region_of
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import BROKE, MAX_REASON, log_traceback
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.container import ServingError
from sagemaker_emulator.hosting.deployment import Closing, Deployment, RolledBack
from sagemaker_emulator.hosting.descriptions import event_detail
from sagemaker_emulator.hosting.kinds import ENDPOINT
from sagemaker_emulator.hosting.traffic import Route, Routes
from sagemaker_emulator.hosting.variant_fleets import MakeFleet, VariantFleets

STATE_EVENT = "SageMaker Endpoint State Change"
DEPLOYMENT_EVENT = "SageMaker Endpoint Deployment State Change"


class Hosting:
    """The control plane of all endpoints: one thread for each that changes its state.

    Arguments:
        announce: gets the type, the ARN and the detail of an event.
        tripped: gets region, name and a time; whether the alarm went off since then.
        deleted: gets the ARN of an endpoint that has stopped serving, before it is deleted.
    """

    def __init__(
        self,
        store: Store,
        routes: Routes,
        make_fleet: MakeFleet,
        *,
        announce: Callable[[str, str, Document], None],
        tripped: Callable[[str, str, float], bool],
        deleted: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self.store = store
        self.routes = routes
        self.make_fleet = make_fleet
        self.announce = announce
        self.tripped = tripped
        self.deleted = deleted
        self.clock = clock
        self.serving: dict[str, VariantFleets] = {}  # by the endpoint's ARN
        self.closing = threading.Event()
        self.numbers = itertools.count(1)

    def recover(self) -> None:
        """Let endpoints serve as before the restart, and resume unfinished changes."""
        for document in self.store.list(ENDPOINT.name):
            arn, status = document["EndpointArn"], document["EndpointStatus"]
            if document.get("Live") and status != "Deleting":
                self.serving[arn] = fleets = self._fleets(arn, document["Live"], lazy=True)
                self.route(arn, fleets)
            if status == "RollingBack":
                self._serve(arn, document["Live"])
            elif status in WORK:
                self.start(arn)

    def close(self) -> None:
        """Stop working; the next server resumes from the store."""
        self.closing.set()

    def start(self, arn: str) -> None:
        """Work on the endpoint's state on a thread of its own."""
        name = f"endpoint-{name_of(arn)}-{next(self.numbers)}"
        threading.Thread(target=self.work, args=(arn,), name=name, daemon=True).start()

    def work(self, arn: str) -> None:
        document = self.store.get(arn)
        if document is None:
            return
        try:
            WORK[document["EndpointStatus"]](self, document)
        except Closing:
            pass
        except Exception as error:
            self.set(arn, "Failed", FailureReason=_reason(error), Stage=None)

    def set(self, arn: str, status: str | None, **changes: Json) -> Document:
        """Store changes, and the status unless it is None; announce them as events."""
        changes |= {"LastModifiedTime": self.clock.now()}
        changes |= {"EndpointStatus": status} if status else {}
        document = self.store.update(arn, **changes)
        if document is None:
            raise LookupError(f"{arn} is not in the store")
        if status:
            self.announce(STATE_EVENT, arn, event_detail(document))
        if document.get("Stage"):
            self.announce(DEPLOYMENT_EVENT, arn, event_detail(document))
        return document

    def _serve(self, arn: str, snapshot: Document, **changes: Json) -> Document:
        changes |= {"Live": snapshot, "Next": None, "Stage": None, "Policy": None}
        return self.set(arn, "InService", **changes)

    def _fleets(self, arn: str, snapshot: Document, lazy: bool = False) -> VariantFleets:
        where = (region_of(arn), name_of(arn))
        return VariantFleets(self.make_fleet, *where, snapshot, lazy)

    def route(
        self, arn: str, blue: VariantFleets, green: VariantFleets | None = None, share: float = 0.0
    ) -> None:
        """Send requests to blue and, a share of them, to green."""
        newest = green if green and share == 1 else blue
        both = green is not None and 0 < share < 1
        route = Route(
            name_of(arn),
            blue=blue.destinations() if both else newest.destinations(),
            green=green.destinations() if green and both else (),
            green_share=share if both else 0.0,
            shadows=newest.destinations("Shadows"),
            asynchronous=newest.snapshot.get("AsyncInferenceConfig"),
        )
        self.routes.set(region_of(arn), route)

    # What each state asks for

    def create(self, document: Document) -> None:
        arn, wanted = document["EndpointArn"], document["Next"]
        fleets = self._fleets(arn, wanted)
        try:
            fleets.resize()
        except Exception as error:
            self._unless_closing()
            fleets.stop()
            self.set(arn, "Failed", FailureReason=_reason(error), Stage=None)
            return
        self.serving[arn] = fleets
        self.route(arn, fleets)
        self._serve(arn, wanted, EndpointConfigName=wanted["EndpointConfigName"])

    def update(self, document: Document) -> None:
        if "Next" not in document:
            return self._update_weights(document)
        arn, wanted = document["EndpointArn"], document["Next"]
        blue, green = self.serving[arn], self._fleets(arn, wanted)
        deployment = self._deployment(document, blue, green)
        try:
            deployment.run()
        except Closing:
            raise
        except Exception as error:
            self._unless_closing()
            self._roll_back(arn, deployment, _reason(error))
            return
        self.serving[arn] = green
        policy = document.get("Policy")
        changes = {"LastDeploymentConfig": policy} if policy else {}
        self._serve(arn, wanted, EndpointConfigName=wanted["EndpointConfigName"], **changes)
        self.route(arn, green)
        blue.stop()

    def _deployment(
        self, document: Document, blue: VariantFleets, green: VariantFleets
    ) -> Deployment:
        arn = document["EndpointArn"]

        def report(stage: Document) -> None:
            self.set(arn, None, Stage=stage)

        return Deployment(
            document.get("Policy") or {},
            blue,
            green,
            shift=lambda share: self.route(arn, blue, green, share),
            report=report,
            tripped=lambda name, since: self.tripped(region_of(arn), name, since),
            closing=self.closing,
            clock=self.clock,
        )

    def _roll_back(self, arn: str, deployment: Deployment, reason: str) -> None:
        blue, green = deployment.blue, deployment.green
        self.set(arn, "RollingBack", FailureReason=reason)
        try:
            deployment.roll_back()
        except ServingError as error:
            blue.left_over = green
            both = f"{reason} The rollback failed: {error}"[:MAX_REASON]
            self.set(arn, "UpdateRollbackFailed", FailureReason=both, Stage=None, Next=None)
            return
        self._serve(arn, blue.snapshot)

    def _update_weights(self, document: Document) -> None:
        """Give the live variants their desired weights and instance counts."""
        arn, live = document["EndpointArn"], document["Live"]
        fleets = self.serving[arn]
        before = fleets.snapshot
        fleets.snapshot = wanted = live | {
            member: [_as_desired(variant) for variant in live[member]]
            for member in ("Variants", "Shadows")
        }
        try:
            fleets.resize()
        except ServingError as error:
            self.set(arn, "RollingBack", FailureReason=_reason(error))
            fleets.snapshot = before
            fleets.resize()
            self._serve(arn, before)
            return
        self.route(arn, fleets)
        self._serve(arn, wanted)

    def delete(self, document: Document) -> None:
        arn = document["EndpointArn"]
        self.routes.remove(region_of(arn), name_of(arn))
        if fleets := self.serving.pop(arn, None):
            fleets.stop()
        self.deleted(arn)
        self.store.delete(arn)

    def _unless_closing(self) -> None:
        """Raise Closing if the server is ending, which then caused the failure."""
        if self.closing.is_set():
            raise Closing


WORK: dict[str, Callable[[Hosting, Document], None]] = {
    "Creating": Hosting.create,
    "Updating": Hosting.update,
    "Deleting": Hosting.delete,
}


def _reason(error: Exception) -> str:
    """Return the FailureReason of an error; print the traceback of an unexpected one."""
    if isinstance(error, ServingError | RolledBack):
        return str(error)[:MAX_REASON]
    log_traceback(error)
    return BROKE


def _as_desired(variant: Document) -> Document:
    """Return a variant with its Desired... members in place of the present ones."""
    kept = {k: v for k, v in variant.items() if not k.startswith("Desired")}
    return kept | {k.removeprefix("Desired"): v for k, v in variant.items() if k not in kept}
