"""CloudWatch, as far as endpoints need it: their metrics, and alarms that are evaluated.

One thread publishes what invocations measure and evaluates the alarms. It sleeps while there is
nothing to publish and no alarm.
"""

import threading
from collections.abc import Callable

from sagemaker_emulator.api import moto_services
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import log_traceback
from sagemaker_emulator.hosting.alarms import Alarms
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.metrics import InvocationMetrics, Measured

PUBLISH_SECONDS = 10  # on AWS
SHORTEST, LONGEST = 0.02, 1.0  # seconds between two rounds of the thread, here


class CloudWatch:
    """`ready` is set once moto is loaded; `instances` gets region, endpoint and variant."""

    def __init__(
        self,
        store: Store,
        ready: threading.Event,
        instances: Callable[[str, str, str], int],
        clock: Clock,
    ) -> None:
        self.ready = ready
        self.clock = clock
        self.step = min(max(clock.seconds(PUBLISH_SECONDS), SHORTEST), LONGEST)
        self.metrics = InvocationMetrics(self.step, instances)
        self.alarms = Alarms(store, clock)
        self.work = threading.Event()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def measure(
        self,
        region: str,
        endpoint: str,
        variant: str,
        status: int,
        model_seconds: float,
        overhead_seconds: float,
    ) -> None:
        """Keep what an invocation measured; called on the event loop for each request."""
        where = (self.clock.now(), region, endpoint, variant)
        self.metrics.pending.append(Measured(*where, status, model_seconds, overhead_seconds))
        if not self.work.is_set():
            self.wake()

    def wake(self) -> None:
        """Wake or start the thread; once it runs, take no lock: this runs on the event loop."""
        self.work.set()
        if self.thread is None:
            with self.lock:
                if self.thread is None:
                    self.thread = threading.Thread(target=self._run, name="metrics", daemon=True)
                    self.thread.start()

    def _run(self) -> None:
        self.ready.wait()
        while self.work.wait():
            try:
                with self.lock:
                    self.metrics.publish()
                    self.alarms.evaluate()
            except Exception as error:
                log_traceback(error)
            self.work.clear()  # before checking for more work, so that none is missed
            if self.metrics.pending or moto_services.alarms():
                self.work.set()
            self.clock.sleep(self.step)

    def before_request(self) -> None:
        """Publish what was measured before CloudWatch is asked for it."""
        with self.lock:
            self.metrics.publish()

    def after_request(self) -> None:
        """Settle the alarms after a request to CloudWatch, and once moto is restored."""
        with self.lock:
            found = self.alarms.settle()
        if found:
            self.wake()

    def has_alarm(self, region: str, name: str) -> bool:
        self.ready.wait()
        return moto_services.find_alarm(region, name) is not None

    def tripped(self, region: str, name: str, since: float) -> bool:
        """Return whether an alarm is in the ALARM state, or was at any time after `since`."""
        self.ready.wait()
        return self.alarms.tripped(region, name, since)
