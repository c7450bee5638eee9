"""The time of the hosting parts, and their waits, which are shorter than AWS's."""

import threading
import time


class Clock:
    """`speed` says how many times shorter a wait is here than on AWS."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def seconds(self, on_aws: float) -> float:
        """Return how long a wait takes here that takes `on_aws` seconds on AWS."""
        return on_aws / self.speed

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until an event is set, at most `seconds`; return whether it is set."""
        return event.wait(seconds)
