"""The time, and how to wait. It is passed in, so that a test can pass a clock of its own."""

import time
from datetime import datetime, timezone


class Clock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return seconds since an unknown moment; only the difference of two means something."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
