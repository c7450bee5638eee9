"""Deployments under load: no request to the endpoint fails or is lost."""

import http.client
import threading
import time

import pytest

PER_SECOND = 200
SECONDS = 60
CLIENTS = 20


class Load:
    """Clients that each send requests at a fixed rate and record every wrong answer."""

    def __init__(self, place):
        self.host = place.cloud.url.removeprefix("http://")
        self.path = f"/endpoints/{place.name}-prod/invocations"
        self.headers = {"Content-Type": "text/csv"} | place.cloud.token
        self.answered, self.wrong = 0, []
        self.lock = threading.Lock()
        self.ends = time.monotonic() + SECONDS
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join()

    def _ask(self):
        connection = http.client.HTTPConnection(self.host, timeout=20)
        due = time.monotonic()
        while due < self.ends:
            time.sleep(max(0, due - time.monotonic()))
            due += CLIENTS / PER_SECOND
            try:
                connection.request("POST", self.path, b"1", self.headers)
                answer = connection.getresponse()
                found = answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                found = 0, repr(error)
                connection.close()
            with self.lock:
                if found[0] == 200:
                    self.answered += 1
                else:
                    self.wrong.append(found)


@pytest.mark.acceptance
@pytest.mark.first
def test_canaries_and_rollbacks_under_load_lose_no_request(place):
    alarms = place.cloud.client("cloudwatch")
    for name in ("model-errors", "latency"):
        alarms.put_metric_alarm(
            AlarmName=f"abalone-prod-{name}",
            Namespace="AWS/SageMaker",
            MetricName="InvocationModelErrors",
            Dimensions=[
                {"Name": "EndpointName", "Value": f"{place.name}-prod"},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
        )
    patient = {"MaxP50Milliseconds": 10_000, "MaxP99Milliseconds": 30_000}  # this machine is busy
    place.settings("staging", EndpointTest=patient)
    place.in_prod(place.register(factor=2))
    done = []
    with Load(place) as load:
        while time.monotonic() < load.ends - 10:
            second = place.staged(place.register(factor=3))
            for words in (("promote", "--model-package-arn", second), ("rollback",)):
                result = place.deploy(*words, stage="prod")
                assert result["ExitCode"] == 0, result["Message"]
                done.append(result["Outcome"])
    assert len(done) >= 2 and set(done) == {"Promoted", "RolledBack"}
    assert load.wrong == []
    assert load.answered >= PER_SECOND * SECONDS * 0.99
