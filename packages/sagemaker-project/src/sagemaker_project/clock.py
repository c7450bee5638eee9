"""The time, and how to wait. It is passed in, so that a test can pass a clock of its own.

This machine's time of day may be wrong, so nothing is ordered or judged by it: deploy.client.Client
gives AWS's time. Durations are measured on a clock that goes on while the machine sleeps: a lease
that is over when a laptop wakes up must be seen to be over.
"""

import time
from datetime import datetime, timezone

# Linux's CLOCK_MONOTONIC and macOS's time.monotonic() stand still during a suspend; Linux's
# CLOCK_BOOTTIME, macOS's CLOCK_MONOTONIC and Windows' time.monotonic() do not.
_COUNTS_SUSPEND: int | None = getattr(
    time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None)
)


class Clock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return seconds since an unknown moment, suspends included; only differences matter."""
        if _COUNTS_SUSPEND is None:
            return time.monotonic()
        return time.clock_gettime(_COUNTS_SUSPEND)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
