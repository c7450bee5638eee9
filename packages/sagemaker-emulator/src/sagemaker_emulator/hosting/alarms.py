"""CloudWatch's alarms, which moto keeps and does not evaluate.

Every alarm on a metric is evaluated, also on metrics of PutMetricData. The periods of an alarm are
as much shorter than they say as the waits of endpoints. Alarms on metric math and composite alarms
keep the state they have. States survive a restart in the store.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.api.metric_statistics import statistic
from sagemaker_emulator.api.moto_services import (
    NEW_ALARM,
    alarms,
    find_alarm,
    measurements,
    state_changes,
)
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import AlreadyExists, log_traceback
from sagemaker_emulator.hosting.clock import Clock

if TYPE_CHECKING:
    from sagemaker_emulator.api.moto_services import Alarm

KIND = "AlarmState"
RANGE_EXTRA = 2  # periods that AWS looks at beyond those it needs, because data may be missing
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class Alarms:
    """The states of all alarms; one thread at a time may use it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.stored: dict[str, Document | None] = {}  # {ARN of an alarm's state: the state}
        self.evaluated: dict[str, float] = {}  # {ARN of an alarm's state: end of the last period}

    def settle(self) -> bool:
        """Correct the states of alarms that were put; return whether there are alarms."""
        found = alarms()
        for alarm in found:
            self._settle(alarm)
        for arn in self.stored.keys() - {_state_arn(alarm) for alarm in found}:
            del self.stored[arn]  # the alarm was deleted: a later one of its name is new
            self.evaluated.pop(arn, None)
            self.store.delete(arn)
        return bool(found)

    def evaluate(self) -> None:
        for alarm in alarms():
            try:
                self._evaluate(alarm)
            except Exception as error:  # which must not stop the other alarms
                log_traceback(error)

    def tripped(self, region: str, name: str, since: float) -> bool:
        """Return whether an alarm is in the ALARM state, or was at any time after `since`."""
        alarm = find_alarm(region, name)
        if alarm is None:
            return False
        changes = state_changes(alarm)
        return alarm.state_value == "ALARM" or any(
            state == "ALARM" and at >= since for state, at in changes
        )

    def _settle(self, alarm: "Alarm") -> None:
        """Replace the state OK, which moto gives every alarm that is put, by AWS's."""
        arn = _state_arn(alarm)
        if arn not in self.stored:
            self.stored[arn] = self.store.get(arn)
        stored = self.stored[arn] or {}
        if alarm.state_reason == NEW_ALARM:
            self.evaluated.pop(arn, None)
            alarm.state_value = stored.get("StateValue", "INSUFFICIENT_DATA")
            alarm.state_reason = stored.get("StateReason", "Unchecked: the alarm is new")
        if stored.get("StateValue") != alarm.state_value:
            self._store(alarm)

    def _store(self, alarm: "Alarm") -> None:
        arn = _state_arn(alarm)
        state = {"StateValue": alarm.state_value, "StateReason": alarm.state_reason}
        self.stored[arn] = state
        try:
            self.store.insert(KIND, arn, state | {"CreationTime": self.clock.now()})
        except AlreadyExists:
            self.store.update(arn, **state)

    def _evaluate(self, alarm: "Alarm") -> None:
        if alarm.metric_data_queries or alarm.rule or not alarm.metric_name:
            return
        self._settle(alarm)
        values = self._datapoints(alarm)
        if values is None:
            return
        state, reason = judge(alarm, values)
        if state and state != alarm.state_value:
            alarm.update_state(reason, "{}", state)
            self._store(alarm)

    def _datapoints(self, alarm: "Alarm") -> list[float | None] | None:
        """Return the statistic of each last period, oldest first; None if none has ended."""
        period = int(alarm.period or 60)
        length = self.clock.seconds(period)
        interval = self.clock.seconds(min(period, 60))  # AWS evaluates every minute
        end = math.floor(self.clock.now() / interval) * interval
        if self.evaluated.get(_state_arn(alarm)) == end:
            return None
        self.evaluated[_state_arn(alarm)] = end
        number = int(alarm.evaluation_periods) + RANGE_EXTRA
        periods: list[dict[float, float]] = [defaultdict(float) for _ in range(number)]
        for measurement in measurements(alarm):
            place = number - math.ceil((end - measurement.at) / length)
            if 0 <= place < number:
                for value, count in measurement.values.items():
                    periods[place][value] += count
        name = alarm.extended_statistic or alarm.statistic or "Average"
        return [statistic(name, values) if values else None for values in periods]


def _state_arn(alarm: "Alarm") -> str:
    return f"{alarm.alarm_arn}/state"


class Rule(Protocol):
    """The members of an alarm that say when it goes off."""

    evaluation_periods: int
    datapoints_to_alarm: int | None
    comparison_operator: str
    threshold: float
    treat_missing_data: str | None


def judge(alarm: Rule, values: Sequence[float | None]) -> tuple[str | None, str]:
    """Return an alarm's state by AWS's rules for missing data (None: unchanged), and the reason.

    `values` are those of the last periods, the oldest first, with None where data is missing.
    """
    number = int(alarm.evaluation_periods)
    needed = int(alarm.datapoints_to_alarm or number)
    compare = COMPARE.get(alarm.comparison_operator)
    if compare is None:  # bands of anomaly detection
        return None, ""
    threshold = float(alarm.threshold)
    breaches = [None if v is None else compare(v, threshold) for v in values]
    real = [breach for breach in breaches if breach is not None][-number:]
    missing, treat = number - len(real), alarm.treat_missing_data or "missing"
    count = sum(real)
    reason = f"Threshold Crossed: {count} of {number} datapoints were beyond {alarm.threshold}"
    if treat == "breaching" and missing > 0:
        count += missing
    if count >= needed:
        return "ALARM", reason
    if treat in ("breaching", "notBreaching") or missing <= 0:
        return "OK", reason
    if not real:
        if treat == "ignore":
            return None, ""
        return "INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received"
    if not all(real):
        return "OK", reason
    if treat == "ignore":
        return None, ""
    # All datapoints breach, but they are too few: they suffice once the oldest is old enough.
    oldest = len(breaches) - breaches.index(True)
    return ("ALARM" if oldest >= needed else None), reason
