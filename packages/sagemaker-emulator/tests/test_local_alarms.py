"""Metrics of endpoints, and alarms that evaluate."""

import json
import os
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from endpoint_helpers import config, endpoint, invoke, model, simple, variant
from local_helpers import Cloud, unique, until
from sagemaker_emulator import client as local_client
from sagemaker_emulator.api.metric_statistics import statistic
from sagemaker_emulator.api.moto_services import _values
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.hosting import alarms
from sagemaker_emulator.hosting.alarms import judge
from sagemaker_emulator.hosting.clock import Clock


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    state = tmp_path_factory.mktemp("project") / ".sagemaker_local"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", "600")  # an alarm's minute takes 0.1 s
        with local_client.attach(state=state) as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket="bucket")
            yield cloud


@pytest.fixture(scope="module")
def watch(cloud):
    return cloud.client("cloudwatch")


def put_alarm(watch, metric, name=None, **members):
    name = name or unique("alarm")
    watch.put_metric_alarm(
        **{
            "AlarmName": name,
            "Namespace": "Test",
            "MetricName": metric,
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 5,
            "ComparisonOperator": "GreaterThanThreshold",
            **members,
        }
    )
    return name


def described(watch, name):
    return watch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def becomes(watch, name, state):
    until(lambda: described(watch, name)["StateValue"] == state)


def keep_putting(watch, metric, value, until_state, name):
    """Data, until the alarm is in a state."""

    def put():
        watch.put_metric_data(Namespace="Test", MetricData=[{"MetricName": metric, "Value": value}])
        return described(watch, name)["StateValue"] == until_state

    until(put)


# Metrics


def sums(watch, name, *metrics):
    end = datetime.now(timezone.utc) + timedelta(minutes=2)
    return {
        metric: sum(
            point["Sum"]
            for point in watch.get_metric_statistics(
                Namespace="AWS/SageMaker",
                MetricName=metric,
                Dimensions=[
                    {"Name": "EndpointName", "Value": name},
                    {"Name": "VariantName", "Value": "AllTraffic"},
                ],
                StartTime=end - timedelta(minutes=10),
                EndTime=end,
                Period=60,
                Statistics=["Sum"],
            )["Datapoints"]
        )
        for metric in metrics
    }


@pytest.mark.acceptance
def test_invocations_are_counted_at_once(cloud, watch):
    name = endpoint(cloud, simple(cloud, count=2))["EndpointName"]
    for _ in range(6):
        invoke(cloud, name)
    for _ in range(2):
        with pytest.raises(Exception, match="ModelError"):
            invoke(cloud, name, b"fail")
    counted = ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
    counted += ("InvocationModelErrors", "InvocationsPerInstance")
    assert sums(watch, name, *counted) == dict(zip(counted, (8, 0, 2, 2, 4), strict=True))
    taken = sums(watch, name, "ModelLatency", "OverheadLatency")
    assert 8 * 50 < taken["ModelLatency"] < 8e6 and 0 < taken["OverheadLatency"] < 8e6
    query = {
        "Id": "m",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/SageMaker",
                "MetricName": "Invocations",
                "Dimensions": [
                    {"Name": "EndpointName", "Value": name},
                    {"Name": "VariantName", "Value": "AllTraffic"},
                ],
            },
            "Period": 60,
            "Stat": "Sum",
        },
    }
    end = datetime.now(timezone.utc) + timedelta(minutes=2)
    (found,) = watch.get_metric_data(
        MetricDataQueries=[query], StartTime=end - timedelta(minutes=10), EndTime=end
    )["MetricDataResults"]
    assert sum(found["Values"]) == 8


# Alarms


def test_an_alarm_follows_its_metric(watch):
    metric = unique("metric")
    name = put_alarm(watch, metric)
    assert described(watch, name)["StateValue"] == "INSUFFICIENT_DATA"
    keep_putting(watch, metric, 1000, "ALARM", name)
    assert "1 of 1 datapoints" in described(watch, name)["StateReason"]
    keep_putting(watch, metric, -1000, "OK", name)
    becomes(watch, name, "INSUFFICIENT_DATA")


def test_a_state_that_is_set_lasts_until_the_next_evaluation(watch):
    kept = put_alarm(watch, unique("metric"), TreatMissingData="ignore")
    quick = put_alarm(watch, unique("metric"))
    for name in (kept, quick):
        watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
    becomes(watch, quick, "INSUFFICIENT_DATA")
    assert described(watch, kept)["StateValue"] == "ALARM"


def test_a_long_period_is_looked_at_every_minute(watch):
    metric = unique("metric")
    name = put_alarm(watch, metric, Period=86400)  # longer here than the test would wait
    keep_putting(watch, metric, 1000, "ALARM", name)


def test_an_alarm_that_is_put_again_keeps_its_state(watch):
    metric = unique("metric")
    name = put_alarm(watch, metric, TreatMissingData="ignore")
    keep_putting(watch, metric, 1000, "ALARM", name)
    put_alarm(watch, metric, name=name, TreatMissingData="ignore", Threshold=6)
    assert described(watch, name)["StateValue"] == "ALARM"


def test_an_alarm_of_the_name_of_a_deleted_one_is_new(watch):
    name = put_alarm(watch, unique("none"), TreatMissingData="breaching")
    becomes(watch, name, "ALARM")
    watch.delete_alarms(AlarmNames=[name])
    put_alarm(watch, unique("none"), name=name, TreatMissingData="ignore")
    assert described(watch, name)["StateValue"] == "INSUFFICIENT_DATA"


def test_missing_data_may_be_a_breach(watch):
    becomes(watch, put_alarm(watch, unique("none"), TreatMissingData="breaching"), "ALARM")
    becomes(watch, put_alarm(watch, unique("none"), TreatMissingData="notBreaching"), "OK")


def test_metric_math_is_left_alone(watch):
    name, metric = unique("math"), {"Namespace": "Test", "MetricName": "x"}
    watch.put_metric_alarm(
        AlarmName=name,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="breaching",
        Metrics=[
            {"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}},
            {"Id": "e", "Expression": "m * 2", "ReturnData": True},
        ],
    )
    other = put_alarm(watch, unique("none"), TreatMissingData="breaching")
    becomes(watch, other, "ALARM")
    assert described(watch, name)["StateValue"] == "INSUFFICIENT_DATA"


@pytest.mark.acceptance
def test_states_survive_a_restart_and_nothing_else_wakes(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
    state = tmp_path / ".sagemaker_local"
    with local_client.attach(state=state) as local:
        watch = Cloud(local).client("cloudwatch")
        metric = unique("metric")
        ignoring = put_alarm(watch, metric, TreatMissingData="ignore")
        keep_putting(watch, metric, 1000, "ALARM", ignoring)
        by_hand = put_alarm(watch, unique("none"), TreatMissingData="ignore")
        watch.set_alarm_state(AlarmName=by_hand, StateValue="OK", StateReason="by hand")
    with local_client.attach(state=state) as local:
        watch = Cloud(local).client("cloudwatch")
        assert described(watch, ignoring)["StateValue"] == "ALARM"
        assert described(watch, by_hand)["StateValue"] == "OK"
        # The thread runs again without a request that would wake it.
        breaching = put_alarm(watch, unique("none"), TreatMissingData="breaching")
    # As a server leaves it that ends before it has evaluated the alarm.
    arn = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{breaching}/state"
    store = Store(state / "state.db")
    store.update(arn, StateValue="INSUFFICIENT_DATA")
    with local_client.attach(state=state):
        until(lambda: store.get(arn)["StateValue"] == "ALARM")
    store.close()


@pytest.mark.acceptance
def test_an_idle_server_with_endpoint_metrics_sleeps(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
    with local_client.attach(state=tmp_path / ".sagemaker_local") as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        invoke(cloud, endpoint(cloud, simple(cloud))["EndpointName"])
        pid = json.loads((local.state / "server.json").read_text())["pid"]
        # The metrics thread runs fifty times a second while there is something to do.
        until(lambda: _woken_within(pid, 0.5) < 5)
        watch = cloud.client("cloudwatch")
        put_alarm(watch, unique("none"))
        until(lambda: _woken_within(pid, 0.5) >= 5)  # there is an alarm


def _woken_within(pid, seconds):
    before = _woken(pid)
    time.sleep(seconds)
    return _woken(pid) - before


def _woken(pid):
    """How often the threads of a process have gone to sleep so far."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        total += int(lines["voluntary_ctxt_switches"])
    return total


# The rules, as AWS's documentation has them in two tables


def rules(needed, number, treat, operator="GreaterThanThreshold"):
    return SimpleNamespace(
        evaluation_periods=number,
        datapoints_to_alarm=needed,
        comparison_operator=operator,
        threshold=0.5,
        treat_missing_data=treat,
    )


TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
A, O, I, K = "ALARM", "OK", "INSUFFICIENT_DATA", None  # noqa: E741 (K: keep the state)


@pytest.mark.parametrize(
    "needed, data, states",
    [
        (3, "0-X-X", (O, O, O, O)),
        (3, "----0", (O, O, O, O)),
        (3, "-----", (I, K, A, O)),
        (3, "0XX-X", (A, A, A, A)),
        (3, "--X--", (A, K, A, O)),
        (3, "----X", (K, K, A, O)),
        (2, "0-X-X", (A, A, A, A)),
        (2, "00X0X", (A, A, A, A)),
        (2, "0-X--", (O, O, A, O)),
        (2, "----0", (O, O, A, O)),
        (2, "---X-", (A, K, A, O)),
        (2, "XX000", (O, O, O, O)),
    ],
)
def test_missing_datapoints(needed, data, states):
    values = [{"0": 0.0, "X": 1.0, "-": None}[letter] for letter in data]
    found = tuple(judge(rules(needed, 3, treat), values)[0] for treat in TREATMENTS)
    assert found == states


@pytest.mark.parametrize(
    "operator, breaching",
    [
        ("GreaterThanThreshold", (0.6,)),
        ("GreaterThanOrEqualToThreshold", (0.5, 0.6)),
        ("LessThanThreshold", (0.4,)),
        ("LessThanOrEqualToThreshold", (0.4, 0.5)),
    ],
)
def test_comparisons(operator, breaching):
    alarm = rules(1, 1, None, operator)
    assert [v for v in (0.4, 0.5, 0.6) if judge(alarm, [None, None, v])[0] == "ALARM"] == [
        *breaching
    ]
    assert judge(rules(1, 1, None, "GreaterThanUpperThreshold"), [9.0])[0] is None


def of_variant(name, metric):
    names = {"EndpointName": name, "VariantName": "AllTraffic"}
    dimensions = [{"Name": key, "Value": value} for key, value in names.items()]
    return {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions}


def within_minutes(minutes=10):
    """A period that ends later, so that it holds all that was measured until now."""
    end = datetime.now(timezone.utc) + timedelta(minutes=2)
    return {"StartTime": end - timedelta(minutes=minutes), "EndTime": end}


def test_percentiles_of_an_endpoint(cloud, watch):
    slow = "import time\n"
    after = """
def predict_fn(data, model):
    time.sleep(0.2 if len(data) > 1 else 0)
    return model
"""
    made = config(cloud, variant(model(cloud, before=slow, after=after)))
    name = endpoint(cloud, made)["EndpointName"]
    for body in [b"x"] * 9 + [b"slow"]:
        invoke(cloud, name, body)
    wanted = [("ModelLatency", stat) for stat in ("p50", "p99", "p99.9", "Minimum", "Maximum")]
    wanted += [("OverheadLatency", "p90"), ("Invocations", "Sum"), ("Invocations", "SampleCount")]
    wanted += [("Invocation4XXErrors", "Sum"), ("Invocation5XXErrors", "Average")]
    queries = [
        {
            "Id": f"q{number}",
            "MetricStat": {"Metric": of_variant(name, metric), "Period": 3600, "Stat": stat},
        }
        for number, (metric, stat) in enumerate(wanted)
    ]
    found = watch.get_metric_data(MetricDataQueries=queries, **within_minutes())
    values = [result["Values"] for result in found["MetricDataResults"]]
    p50, p99, p999, least, most, overhead, calls, samples, refused, failed = (v for (v,) in values)
    assert least <= p50 < 0.1e6 < 0.2e6 <= p99 == p999 == most < 5e6
    assert 0 < overhead < 5e6 and (calls, samples, refused, failed) == (10, 10, 0, 0)
    (point,) = watch.get_metric_statistics(
        **of_variant(name, "ModelLatency"),
        **within_minutes(),
        Period=3600,
        Statistics=["Maximum"],
        ExtendedStatistics=["p50", "p99"],
    )["Datapoints"]
    assert point["ExtendedStatistics"] == {"p50": p50, "p99": p99} and point["Maximum"] == most


@pytest.mark.parametrize("stat", ["tm99", "p101", "IQM", "p"])
def test_a_statistic_that_is_not_there_is_refused(watch, stat):
    times = within_minutes()
    metric = of_variant("any", "ModelLatency")
    query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}
    with pytest.raises(ClientError, match=f"{stat} is not supported"):
        watch.get_metric_data(MetricDataQueries=[query], **times)
    with pytest.raises(ClientError, match=f"{stat} is not supported"):
        watch.get_metric_statistics(**metric, **times, Period=60, ExtendedStatistics=[stat])


def test_statistics():
    values = {1.0: 97, 10.0: 2, 100.0: 1}
    names = ("SampleCount", "Sum", "Minimum", "Maximum", "Average", "p50", "p99", "p99.5", "p100")
    expected = (100, 217, 1, 100, 2.17, 1, 10, 100, 100)
    assert tuple(statistic(name, values) for name in names) == expected


@pytest.mark.parametrize(
    "name, number, rank", [("p99.9", 1000, 999), ("p55", 100, 55), ("p28", 50, 14)]
)
def test_a_percentile_is_exact(name, number, rank):
    assert statistic(name, {float(value): 1 for value in range(1, number + 1)}) == rank


def test_a_statistic_set_of_no_samples_is_ignored(watch):
    metric = unique("metric")
    name = put_alarm(watch, metric, Statistic="Average", TreatMissingData="notBreaching")
    nothing = {"SampleCount": 0.0, "Sum": 0.0, "Minimum": 0.0, "Maximum": 0.0}
    data = [{"MetricName": metric, "StatisticValues": nothing}]
    watch.put_metric_data(Namespace="Test", MetricData=data)
    about = {"Namespace": "Test", "MetricName": metric, "Period": 3600, **within_minutes()}
    for kind in ({"Statistics": ["Minimum", "Average"]}, {"ExtendedStatistics": ["p90"]}):
        assert watch.get_metric_statistics(**about, **kind)["Datapoints"] == []
    watch.put_metric_data(Namespace="Test", MetricData=[*data, {"MetricName": metric, "Value": 9}])
    becomes(watch, name, "ALARM")


def test_an_alarm_that_cannot_be_evaluated_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    evaluated = []

    def evaluate(self, alarm):
        evaluated.append(alarm)
        if alarm == "bad":
            raise ZeroDivisionError

    monkeypatch.setattr(alarms, "alarms", lambda: ["bad", "good"])
    monkeypatch.setattr(alarms.Alarms, "_evaluate", evaluate)
    alarms.Alarms(Store(tmp_path / "state.db"), Clock()).evaluate()
    assert evaluated == ["bad", "good"] and "ZeroDivisionError" in capsys.readouterr().err


def test_a_statistic_set_keeps_its_sum_and_its_extremes():
    datum = SimpleNamespace(sample_count=5, sum=100, min=1, max=60)
    values = _values(datum)
    assert statistic("Sum", values) == pytest.approx(100)
    assert (min(values), max(values), sum(values.values())) == (1, 60, 5)
