"""CloudWatch, as far as endpoints need it: their metrics, and alarms that really evaluate.

moto keeps metrics and alarms and evaluates nothing. What invocations measure is gathered here and
put among moto's metrics, where GetMetricStatistics and GetMetricData find it; it is gone after a
restart. Alarms are anybody's: all metrics, those of PutMetricData as well, are looked at. The
periods of an alarm are `sagemaker.speed` times shorter than they say, like the waits of
endpoints. Alarms on metric math and composite alarms keep the state they have.

One thread does it. It sleeps while there is nothing to publish and no alarm.
"""

import contextlib
import math
import threading
import time
import traceback
from collections import defaultdict, deque
from datetime import datetime, timezone

from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.store import AlreadyExists

NAMESPACE = "AWS/SageMaker"
PUBLISH_SECONDS = 10  # on AWS's clock
SHORTEST, LONGEST = 0.02, 1.0  # between two looks, on ours
MAX_DATA = 20_000  # of our own, in moto's memory
RANGE_EXTRA = 2  # AWS looks at a few periods more than it needs, for the sake of missing data
NEW = "Unchecked: Initial alarm creation"  # moto's words
KIND = "AlarmState"
COMPARE = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
STATISTICS = {
    "SampleCount": lambda values: sum(values.values()),
    "Sum": lambda values: sum(value * count for value, count in values.items()),
    "Minimum": min,
    "Maximum": max,
    "Average": lambda values: STATISTICS["Sum"](values) / STATISTICS["SampleCount"](values),
}


class Metrics:
    def __init__(self, sagemaker):
        self.sagemaker = sagemaker
        self.pending = deque()
        self.published = deque()  # our own data in moto, oldest first
        self.known = {}  # {ARN of an alarm's state: the state}, as the store has it
        self.work = threading.Event()
        self.lock = threading.Lock()
        self.thread = None
        sagemaker.neighbours.before["monitoring"] = self.refresh
        sagemaker.neighbours.after["monitoring"] = self.settle
        self.step = min(max(sagemaker.seconds(PUBLISH_SECONDS), SHORTEST), LONGEST)

    def invocation(self, region, endpoint, variant, status, model_seconds, overhead_seconds):
        """Called for each request, on the event loop: gathered here, counted elsewhere."""
        self.pending.append(
            (time.time(), region, endpoint, variant, status, model_seconds, overhead_seconds)
        )
        if not self.work.is_set():
            self.wake()

    def wake(self):
        """Somebody uses CloudWatch, or an endpoint."""
        with self.lock:
            self.work.set()
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="metrics", daemon=True)
                self.thread.start()

    def _run(self):
        self.sagemaker.neighbours.ready.wait()
        while self.work.wait():
            try:
                self.tick()
            except Exception:
                traceback.print_exc()
            if not self.pending and not any(backend.alarms for _, backend in _backends()):
                self.work.clear()
                if self.pending:  # it came between the two lines
                    self.work.set()
            time.sleep(self.step)

    def tick(self):
        with self.lock:
            self.publish()
            for _, backend in _backends():
                for alarm in list(backend.alarms.values()):
                    self._evaluate(backend, alarm)

    def refresh(self):
        """Before a request to CloudWatch: what has been measured is there."""
        with self.lock:
            self.publish()

    def settle(self):
        """After a request to CloudWatch, and at the start: alarms have the states AWS gives."""
        with self.lock:
            alarms = [alarm for _, backend in _backends() for alarm in [*backend.alarms.values()]]
            for alarm in alarms:
                self._settle(alarm)
            for arn in self.known.keys() - {_state_arn(alarm) for alarm in alarms}:
                del self.known[arn]  # the alarm is deleted, and another of its name is a new one
                self.sagemaker.store.delete(arn)
        if alarms:
            self.wake()

    # Publishing

    def publish(self):
        """From single invocations to one datum for each metric, variant and step of time."""
        if not self.pending:
            return
        groups = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
        while self.pending:
            moment, region, endpoint, variant, status, model, overhead = self.pending.popleft()
            at = math.floor(moment / self.step) * self.step
            values = groups[(region, endpoint, variant, at)]
            for name, value in _measured(status, model, overhead):
                values[name][value] += 1
        for (region, endpoint, variant, at), metrics in groups.items():
            number = sum(metrics["Invocations"].values())
            share = 1 / self._instances(region, endpoint, variant)
            metrics["InvocationsPerInstance"] = {share: number}
            self._put(region, endpoint, variant, at, metrics)

    def _instances(self, region, endpoint, variant):
        route = self.sagemaker.runtime.routes.get((region, endpoint))
        lanes = [*route.blue, *route.green] if route else []
        return sum(lane.fleet.count for lane in lanes if lane.variant == variant) or 1

    def _put(self, region, endpoint, variant, at, metrics):
        from moto.cloudwatch.models import MetricAggregatedDatum, cloudwatch_backends

        backend = cloudwatch_backends[ACCOUNT][region]
        dimensions = [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": variant},
        ]
        for name, values in metrics.items():
            datum = MetricAggregatedDatum(
                *(NAMESPACE, name, min(values), max(values), STATISTICS["SampleCount"](values)),
                STATISTICS["Sum"](values),
                dimensions,
                datetime.fromtimestamp(at, timezone.utc).replace(tzinfo=None),
                "Microseconds" if name.endswith("Latency") else "None",
            )
            datum.values = values  # for percentiles
            backend.metric_data.append(datum)
            self.published.append((backend, datum))
        while len(self.published) > MAX_DATA:
            old_backend, old = self.published.popleft()
            with contextlib.suppress(ValueError):
                old_backend.metric_data.remove(old)

    # Alarms

    def alarm(self, region, name):
        """moto's alarm of this name, or None."""
        self.sagemaker.neighbours.ready.wait()
        return next(
            (b.alarms[name] for r, b in _backends() if r == region and name in b.alarms), None
        )

    def tripped(self, region, name, since):
        """Whether an alarm is in the ALARM state, or was at any time since then."""
        alarm = self.alarm(region, name)
        if alarm is None:
            return False
        if alarm.state_value == "ALARM":
            return True
        return any(
            state == "ALARM" and _seconds(at) >= since for _, _, _, state, at in list(alarm.history)
        )

    def _settle(self, alarm):
        """moto gives a new alarm the state OK, and so one that is put again."""
        key = _state_arn(alarm)
        if key not in self.known:
            self.known[key] = self.sagemaker.store.get(_state_arn(alarm))
        if alarm.state_reason == NEW:
            known = self.known[key] or {}
            alarm.state_value = known.get("StateValue", "INSUFFICIENT_DATA")
            alarm.state_reason = known.get("StateReason", "Unchecked: the alarm is new")
        if (self.known[key] or {}).get("StateValue") != alarm.state_value:
            self._remember(alarm)

    def _remember(self, alarm):
        state = {"StateValue": alarm.state_value, "StateReason": alarm.state_reason}
        store, arn = self.sagemaker.store, _state_arn(alarm)
        self.known[arn] = state
        try:
            store.insert(KIND, arn, state | {"CreationTime": time.time()})
        except AlreadyExists:
            store.update(arn, **state)

    def _evaluate(self, backend, alarm):
        if alarm.metric_data_queries or alarm.rule or not alarm.metric_name:
            return
        self._settle(alarm)
        values = self._datapoints(backend, alarm)
        if values is None:
            return
        state, why = judge(alarm, values)
        if state and state != alarm.state_value:
            alarm.update_state(why, "{}", state)
            self._remember(alarm)

    def _datapoints(self, backend, alarm):
        """The values of the last periods, oldest first; None: not yet time to look again."""
        length = self.sagemaker.seconds(int(alarm.period))
        beat = self.sagemaker.seconds(min(int(alarm.period), 60))  # AWS looks every minute
        end = math.floor(time.time() / beat) * beat
        if getattr(alarm, "evaluated", None) == end:
            return None
        alarm.evaluated = end
        number = int(alarm.evaluation_periods) + RANGE_EXTRA
        periods = [defaultdict(float) for _ in range(number)]
        wanted = {(dimension.name, dimension.value) for dimension in alarm.dimensions}
        for datum in list(backend.metric_data):
            if datum.name != alarm.metric_name or datum.namespace != alarm.namespace:
                continue
            place = number - math.ceil((end - _seconds(datum.timestamp)) / length)
            if not 0 <= place < number or (alarm.unit and datum.unit != alarm.unit):
                continue
            if {(dimension.name, dimension.value) for dimension in datum.dimensions} == wanted:
                for value, count in _values(datum).items():
                    periods[place][value] += count
        statistic = alarm.extended_statistic or alarm.statistic
        return [_statistic(statistic, values) if values else None for values in periods]


def _measured(status, model_seconds, overhead_seconds):
    """What one invocation adds to each metric; latencies to three digits."""
    status = status or 0
    yield "Invocations", 1
    yield "Invocation4XXErrors", int(400 <= status < 500)
    yield "Invocation5XXErrors", int(status >= 500)
    yield "InvocationModelErrors", int(not 200 <= status < 300)
    yield "ModelLatency", float(f"{model_seconds * 1e6:.3g}")
    yield "OverheadLatency", float(f"{overhead_seconds * 1e6:.3g}")


def _values(datum):
    """{value: how often}. Of a statistic set only the sum and the number are known for sure."""
    if hasattr(datum, "values"):
        return datum.values
    if hasattr(datum, "value"):
        return {datum.value: 1}
    inner = datum.sample_count - 2
    if inner <= 0 or datum.min == datum.max:
        return {datum.sum / datum.sample_count: datum.sample_count}
    values = defaultdict(float, {datum.min: 1})
    values[datum.max] += 1
    values[(datum.sum - datum.min - datum.max) / inner] += inner
    return values


def _statistic(name, values):
    if name in STATISTICS:
        return STATISTICS[name](values)
    rank = float(name.removeprefix("p")) / 100 * sum(values.values())
    seen = 0
    for value in sorted(values):
        seen += values[value]
        if seen >= rank:
            return value
    return max(values)


def judge(alarm, values):
    """(new state, or None to keep the one there is; why), by AWS's rules for missing data."""
    number = int(alarm.evaluation_periods)
    needed = int(alarm.datapoints_to_alarm or number)
    compare = COMPARE.get(alarm.comparison_operator)
    if compare is None:  # bands of anomaly detection
        return None, ""
    breaches = [None if v is None else compare(v, float(alarm.threshold)) for v in values]
    real = [breach for breach in breaches if breach is not None][-number:]
    missing, treat = number - len(real), alarm.treat_missing_data or "missing"
    count = sum(real)
    about = f"Threshold Crossed: {count} of {number} datapoints were beyond {alarm.threshold}"
    if treat == "breaching" and missing > 0:
        count += missing
    if count >= needed:
        return "ALARM", about
    if treat in ("breaching", "notBreaching") or missing <= 0:
        return "OK", about
    if not real:
        if treat == "ignore":
            return None, ""
        return "INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received"
    if not all(real):
        return "OK", about
    if treat == "ignore":
        return None, ""
    # Only breaching datapoints, too few: enough once the oldest is old enough.
    oldest = len(breaches) - breaches.index(True)
    return ("ALARM" if oldest >= needed else None), about


def _backends():
    """(region, moto's CloudWatch) wherever somebody has used it."""
    from moto.cloudwatch.models import cloudwatch_backends

    return list(cloudwatch_backends[ACCOUNT].items()) if ACCOUNT in cloudwatch_backends else []


def _seconds(moment):
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _state_arn(alarm):
    return f"{alarm.alarm_arn}/state"
