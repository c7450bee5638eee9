"""Everything that the emulator takes from moto, which answers for all services but SageMaker.

Two ways lead into moto from a program in the same process: its WSGI application, and its backends,
which hold by account and region what a service knows. The backends are no public interface of moto,
so no other module of this package imports moto: after an upgrade of moto, check this one.

moto is imported inside the functions, because that takes a second (see other_services.py).
"""

import contextlib
import io
import os
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from sagemaker_emulator.api.metric_statistics import SIMPLE, statistic, unknown
from sagemaker_emulator.api.request import Request, Response

if TYPE_CHECKING:
    from moto.cloudwatch.models import Alarm as Alarm
    from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase, Statistics
    from moto.cloudwatch.responses import CloudWatchResponse
    from moto.core.responses import ActionResult

ACCOUNT = "123456789012"  # moto's
ONE_APPLICATION = {  # for all requests; a service such as dynamodb has several
    *("s3", "sts", "iam", "ecr", "logs", "events", "monitoring", "application-autoscaling"),
}
S3_CONTROL = "/v20180820/"
NEW_ALARM = "Unchecked: Initial alarm creation"  # the state_reason of a new alarm in moto
MAX_MEASUREMENTS = 20_000
_added: deque[tuple[list["MetricDatumBase"], "MetricDatumBase"]] = deque()  # by add_measurement

Environ: TypeAlias = dict[str, Any]
Application: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]  # of WSGI


# Requests


class Moto:
    """moto's services, each as a WSGI application."""

    def __init__(self) -> None:
        os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "1"
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._dispatcher = DomainDispatcherApplication(create_backend_app)
        self._applications: dict[str, Application] = {}

    def answer(self, request: Request) -> Response:
        """Return what the service answers, without the network between."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        chunks = self._application(request)(
            _environ(request), lambda status, headers, _=None: started.append((status, headers))
        )
        try:
            body = b"".join(chunks)
        finally:
            if close := getattr(chunks, "close", None):
                close()
        status, headers = started[-1]
        return Response(int(status.split()[0]), headers, body)

    def _application(self, request: Request) -> Application:
        """Return the service's application; cached, because moto searches its folders each time."""
        if request.service not in ONE_APPLICATION or request.plain_path.startswith(S3_CONTROL):
            return self._dispatcher
        if request.service not in self._applications:
            if request.service == "monitoring":
                _correct_cloudwatch()
            found = self._dispatcher.get_application(_environ(request))
            self._applications[request.service] = found
        return self._applications[request.service]


def _environ(request: Request) -> Environ:
    """Return the WSGI environment of a request."""
    path, _, query = request.path.partition("?")
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path, "latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": request.path,
        "HTTP_HOST": "127.0.0.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    spelled = {}
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        environ[key] = value
        if "_" in name:
            spelled[key] = name
    # moto's own convention: in WSGI the headers x_y and x-y have one name, in S3 metadata two.
    return environ | {"moto.preserved_header_names": spelled}


# S3


def restore_object(
    bucket: str, key: str, written: float, etag: str | None, version: str | None
) -> None:
    """Set what a PUT does not carry: when the object was written, its ETag, its version."""
    from moto.s3.models import s3_backends

    with contextlib.suppress(
        LookupError, AttributeError
    ):  # internals of moto; without them only labels differ
        stored = s3_backends[ACCOUNT]["aws"].get_bucket(bucket).keys[key]  # of any partition
        stored.last_modified = datetime.fromtimestamp(written, timezone.utc).replace(tzinfo=None)
        if etag:
            stored._etag = etag.strip('"')
        if version:
            stored._version_id = version


# Application Auto Scaling


def scalable_targets(region: str) -> list[tuple[str, str]]:
    """Return (dimension, resource) of each scalable target."""
    if (models := sys.modules.get("moto.applicationautoscaling.models")) is None:
        return []  # not used yet, and slow to import
    targets = models.applicationautoscaling_backends[ACCOUNT][region].targets
    return [(dimension, name) for dimension, by_name in targets.items() for name in by_name]


# CloudWatch Logs


def put_log_lines(region: str, group: str, stream: str, lines: Iterable[str], at: int) -> None:
    """Append lines to a log stream, created if missing; `at` is in milliseconds since 1970."""
    from moto.logs.models import logs_backends

    backend = logs_backends[ACCOUNT][region]
    backend.ensure_log_group(group)
    backend.ensure_log_stream(group, stream)
    events = [{"timestamp": at, "message": line} for line in lines]
    backend.groups[group].put_log_events(stream, events)


# CloudWatch


class Measurement(NamedTuple):
    """One datum of a metric: a moment, and how often each value was measured."""

    at: float  # seconds since 1970
    values: Mapping[float, float]  # {value: number of times}


def alarms() -> list["Alarm"]:
    """Return the alarms of all regions."""
    return [alarm for backend in _cloudwatch().values() for alarm in [*backend.alarms.values()]]


def find_alarm(region: str, name: str) -> "Alarm | None":
    return next((a for a in alarms() if a.region_name == region and a.name == name), None)


def state_changes(alarm: "Alarm") -> list[tuple[str, float]]:
    """Return (state, second in which it began) of an alarm's earlier states, oldest first."""
    return [(state, _seconds(at)) for _, _, _, state, at in list(alarm.history)]


def measurements(alarm: "Alarm") -> Iterator[Measurement]:
    """Yield the data of an alarm's metric, with exactly its dimensions and unit."""
    wanted = {(dimension.name, dimension.value) for dimension in alarm.dimensions}
    for datum in list(_cloudwatch()[alarm.region_name].metric_data):
        if datum.name != alarm.metric_name or datum.namespace != alarm.namespace:
            continue
        if alarm.unit and datum.unit != alarm.unit:
            continue
        if {(dimension.name, dimension.value) for dimension in datum.dimensions} == wanted:
            yield Measurement(_seconds(datum.timestamp), _values(datum))


def add_measurement(
    region: str,
    namespace: str,
    metric: str,
    dimensions: Mapping[str, str],
    unit: str,
    measured: Measurement,
) -> None:
    """Add a datum to a metric; keep at most MAX_MEASUREMENTS in all, removing the oldest."""
    from moto.cloudwatch.models import MetricAggregatedDatum, cloudwatch_backends

    values = measured.values
    datum = MetricAggregatedDatum(
        *(namespace, metric, min(values), max(values), sum(values.values())),
        sum(value * count for value, count in values.items()),
        [{"Name": name, "Value": value} for name, value in dimensions.items()],
        datetime.fromtimestamp(measured.at, timezone.utc).replace(tzinfo=None),
        unit,
    )
    vars(datum)["values"] = values  # percentiles need them, and moto has no place for them
    data = cloudwatch_backends[ACCOUNT][region].metric_data
    data.append(datum)
    _added.append((data, datum))
    while len(_added) > MAX_MEASUREMENTS:
        old_data, old = _added.popleft()
        with contextlib.suppress(ValueError):
            old_data.remove(old)


def _correct_cloudwatch() -> None:
    """Make moto's CloudWatch answer percentiles, and refuse statistics that it leaves out.

    A statistic set of no samples is ignored: moto would take it for data.
    """
    from moto.cloudwatch import models, responses
    from moto.cloudwatch.exceptions import ValidationError

    response = responses.CloudWatchResponse
    simple = models.Statistics.get_statistics_for_type
    answer_data, answer_statistics = response.get_metric_data, response.get_metric_statistics
    put_data = models.CloudWatchBackend.put_metric_data

    def check(names: Iterable[str]) -> None:
        if refused := unknown(names):
            raise ValidationError(f"The statistic {refused[0]} is not supported here.")

    def get_statistics_for_type(self: "Statistics", name: str) -> Any:
        return simple(self, name) if name in SIMPLE else statistic(name, _all_values(self))

    def get_metric_data(self: "CloudWatchResponse") -> "ActionResult":
        queries = self._get_params().get("MetricDataQueries") or []
        check(query["MetricStat"]["Stat"] for query in queries if "MetricStat" in query)
        return answer_data(self)

    def get_metric_statistics(self: "CloudWatchResponse") -> "ActionResult":
        names = self._get_param("ExtendedStatistics") or []
        check(names)
        answer = answer_statistics(self)
        points: list[Any] = vars(answer)["_result"]["Datapoints"]
        for point in points:
            point.extended_statistics = {n: get_statistics_for_type(point, n) for n in names}
        return answer

    def put_metric_data(
        self: "CloudWatchBackend", namespace: str, metric_data: list[dict[str, Any]]
    ) -> None:
        put_data(self, namespace, [datum for datum in metric_data if _has_samples(datum)])

    setattr(models.CloudWatchBackend, put_metric_data.__name__, put_metric_data)
    setattr(models.Statistics, get_statistics_for_type.__name__, get_statistics_for_type)
    for answered in (get_metric_data, get_metric_statistics):
        setattr(response, answered.__name__, answered)


def _has_samples(datum: Mapping[str, Any]) -> bool:
    """Return whether a datum of PutMetricData is more than a statistic set of no samples."""
    return float((datum.get("StatisticValues") or {}).get("SampleCount", 1)) != 0


def _all_values(statistics: "Statistics") -> Mapping[float, float]:
    """Return {value: number of times} of all data of a period."""
    values: defaultdict[float, float] = defaultdict(float)
    for datum in statistics.metric_data:
        for value, count in _values(datum).items():
            values[value] += count
    return values


def _cloudwatch() -> dict[str, "CloudWatchBackend"]:
    """Return {region: moto's CloudWatch} of the regions in which it was used."""
    from moto.cloudwatch.models import cloudwatch_backends

    return dict(cloudwatch_backends[ACCOUNT]) if ACCOUNT in cloudwatch_backends else {}


def _values(datum: "MetricDatumBase") -> Mapping[float, float]:
    """Return {value: number of times}; for a statistic set, only sum and number are exact."""
    about = vars(datum)
    if "values" in about:
        values: Mapping[float, float] = about["values"]
        return values
    if "value" in about:
        return {about["value"]: 1}
    low, high, total, count = (about[name] for name in ("min", "max", "sum", "sample_count"))
    if count <= 2 or low == high:
        return {total / count: count}
    estimated = defaultdict(float, {low: 1.0})
    estimated[high] += 1
    estimated[(total - low - high) / (count - 2)] += count - 2
    return estimated


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
