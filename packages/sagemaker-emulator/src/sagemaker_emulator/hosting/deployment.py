"""One update of an endpoint: the traffic moves from the blue fleets to the green ones.

Between two shifts the new variants bake: the alarms of AutoRollbackConfiguration are watched, and
the time that MaximumExecutionTimeoutInSeconds leaves. `run` raises where the update must be rolled
back, and the caller decides what becomes of the endpoint.
"""

import threading
from collections.abc import Callable

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.deployment_config import (
    Step,
    alarm_names,
    instances,
    shares,
    steps,
)
from sagemaker_emulator.hosting.variant_fleets import VariantFleets

DEFAULT_TIMEOUT_SECONDS = 28800
WATCH_SECONDS = 0.02  # between two looks at the alarms


class RolledBack(Exception):
    """An update must be rolled back; the message is its FailureReason."""


class Closing(Exception):
    """The server ends; the next one resumes the update."""


class Deployment:
    """One update, from blue to green.

    Arguments:
        shift: gets the share of the traffic that green has from now on.
        report: gets the stage that a description of the endpoint shows.
        tripped: gets an alarm's name and a time; whether it went off since then.
        closing: is set when the server ends.
    """

    def __init__(
        self,
        policy: Document,
        blue: VariantFleets,
        green: VariantFleets,
        *,
        shift: Callable[[float], None],
        report: Callable[[Document], None],
        tripped: Callable[[str, float], bool],
        closing: threading.Event,
        clock: Clock,
    ) -> None:
        self.policy = policy
        self.blue, self.green = blue, green
        self.shift, self.report, self.tripped = shift, report, tripped
        self.closing = closing
        self.clock = clock
        self.alarms = alarm_names(policy)
        self.rolling = policy.get("RollingUpdatePolicy")
        self.begun = clock.now()
        limits = self.rolling or policy.get("BlueGreenUpdatePolicy") or {}
        self.limit = limits.get("MaximumExecutionTimeoutInSeconds") or DEFAULT_TIMEOUT_SECONDS
        self.deadline = clock.monotonic() + clock.seconds(self.limit)

    def run(self) -> None:
        """Move all traffic to green; any exception but Closing means to roll back."""
        total = sum(variant["Count"] for variant in self.green.snapshot["Variants"])
        self._report("Creating", f"Launching {total} instance(s).", 0.0)
        if not self.rolling:
            self.green.resize()
        for step in steps(self.policy, self.green.snapshot):
            self._watch()
            self._run_step(step, total)

    def _run_step(self, step: Step, total: int) -> None:
        share = step.share
        kind = "full" if share == 1 else "batch" if self.rolling else "canary"
        capacity = f"{kind} capacity of {instances(total, share)} instance(s)."
        self._report("ActivatingTraffic", f"Activating traffic on {capacity}", share)
        if self.rolling:
            self.green.resize(share)
        self.shift(share)
        if self.rolling and share < 1:
            self.blue.resize(1 - share)
        about = f"Baking for {step.seconds} seconds ({step.reason}) with traffic enabled on"
        self._report("Baking", f"{about} {capacity}", share)
        self._bake(step.seconds)

    def roll_back(self) -> None:
        """Move all traffic to blue; raise ServingError if blue cannot get its size back."""
        if self.rolling:
            batch = self.rolling.get("RollbackMaximumBatchSize")
            for share in shares(batch, self.blue.snapshot):
                self.blue.resize(share)
                self.shift(1 - share)
        self.shift(0.0)
        self.green.stop()

    def _bake(self, seconds: int) -> None:
        end = self.clock.monotonic() + self.clock.seconds(seconds)
        self._watch()
        while (left := end - self.clock.monotonic()) > 0:
            wait = min(left, WATCH_SECONDS) if self.alarms else left
            if self.clock.wait(self.closing, wait):
                raise Closing
            self._watch()

    def _watch(self) -> None:
        if self.clock.monotonic() > self.deadline:
            raise RolledBack(
                f"The deployment took longer than its limit of {self.limit} seconds"
                " (MaximumExecutionTimeoutInSeconds)."
            )
        tripped = [name for name in self.alarms if self.tripped(name, self.begun)]
        if tripped:
            raise RolledBack(
                "One or more alarms of AutoRollbackConfiguration went into the ALARM state during"
                f" the deployment: {', '.join(tripped)}."
            )

    def _report(self, status: str, message: str, share: float) -> None:
        stage = {"Status": status, "StatusMessage": message, "StartTime": self.clock.now()}
        self.report(stage | {"Share": share})
