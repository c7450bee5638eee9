"""The states of `deploy-model help on-call`, each made by hand, and what is typed then."""

import contextlib
import json
import shlex
from datetime import datetime, timedelta, timezone

from deploy_helpers import BUCKET, artifact, until

AT_ONCE = {
    "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
    "TerminationWaitInSeconds": 600,
}
ONE = [{"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
DOES_NOT_LOAD = 'def model_fn(folder):\n    raise RuntimeError("does not load")\n'


def name_of(place):
    return f"{place.name}-staging"


def promoted(place, *factors):
    """Versions in staging, one after the other; the ARN of the last."""
    for factor in factors:
        arn = place.register(factor=factor)
        result = place.deploy("promote", "--model-package-arn", arn)
        assert result["ExitCode"] == 0, result
    return arn


def serves(place, status="InService", **members):
    """The endpoint says this of itself for as long as it is asked."""
    members = {"EndpointStatus": status, **members}
    place.inject("DescribeEndpoint", "answer", times=None, members=members)


def lock(place, **changes):
    owner = {
        "Version": 1,
        "By": "ann",
        "Host": "elsewhere",
        "Machine": "elsewhere",
        "Pid": 1,
        "What": "promote version 9",
        "Since": "2026-01-02T03:04:05.678+00:00",
        "LeaseSeconds": 600,
    }
    place.put(f"{place.name}/deploy/staging/lock.json", json.dumps(owner | changes))


def alarm(place, treat_missing_data=None):
    """The settings name an alarm, which judges no data so, or which does not exist."""
    name = f"{place.name}-errors"
    alarms = {"Alarms": [{"AlarmName": name}]}
    guarded = {"BlueGreenUpdatePolicy": AT_ONCE, "AutoRollbackConfiguration": alarms}
    place.settings("staging", DeploymentConfig=guarded)
    if not treat_missing_data:
        return
    cloudwatch = place.cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName="NeverPublished",
        Statistic="Sum",
        Threshold=0,
        Period=60,
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData=treat_missing_data,
    )
    state = "ALARM" if treat_missing_data == "breaching" else "INSUFFICIENT_DATA"
    until(lambda: cloudwatch.describe_alarms(AlarmNames=[name], StateValue=state)["MetricAlarms"])


def interrupt(place, arn):
    """A promotion that is killed while SageMaker updates the endpoint, which goes on."""
    place.inject("DescribeEndpoint", "denied", after=2, times=None)  # two looks before the update
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 5
    place.clear_faults()
    assert place.entries()[-1]["Kind"] == "Started"
    place.settled()


def cannot_be_read(place):
    place.inject("DescribeEndpoint", "denied", times=None)


def in_progress(place):
    promoted(place, 2)
    lock(place)


def changed_by_others_now(place):
    promoted(place, 2)
    serves(place, "Updating", PendingDeploymentSummary={"EndpointConfigName": "another"})


def lock_damaged(place):
    promoted(place, 2)
    lock(place, Pid="x")


def ledger_damaged(place):
    promoted(place, 2)
    place.put(f"{place.name}/deploy/staging/ledger/00000001.json", b"{}")


def interrupted(place):
    promoted(place, 2)
    interrupt(place, place.register(factor=3))


def endpoint_deleted(place):
    promoted(place, 2, 3)
    place.sm.delete_endpoint(EndpointName=name_of(place))
    until(lambda: place.live() is None)


def first_creation_failed(place):
    body = artifact(inference=DOES_NOT_LOAD)
    arn = place.register(body=body)
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 1
    place.register(factor=3)


def nothing_deployed(place):
    place.register()


def failed(place):
    promoted(place, 2)
    serves(place, "Failed", FailureReason="out of capacity")


def configuration_deleted(place):
    promoted(place, 2)
    place.sm.delete_endpoint_config(EndpointConfigName=place.live())


def weights_changed_by_hand(place):
    pair = [{**ONE[0], "VariantName": name} for name in ("A", "B")]
    place.settings("staging", ProductionVariants=pair)
    promoted(place, 2)
    place.sm.update_endpoint_weights_and_capacities(
        EndpointName=name_of(place),
        DesiredWeightsAndCapacities=[{"VariantName": "B", "DesiredWeight": 0}],
    )
    place.settled()


def not_ours(place):
    """An endpoint under this name that no deploy-model made."""
    other = promoted(place, 2)
    config = place.live()
    place.sm.delete_endpoint(EndpointName=name_of(place))
    until(lambda: place.live() is None)
    for entry in place.entries():
        key = f"{place.name}/deploy/staging/ledger/{entry['Number']:08d}.json"
        place.s3.delete_object(Bucket=BUCKET, Key=key)
    place.sm.create_endpoint(EndpointName=name_of(place), EndpointConfigName=config)
    place.settled()
    assert other


def changed_by_hand(place):
    promoted(place, 2)
    first = place.live()
    promoted(place, 3)
    place.sm.update_endpoint(EndpointName=name_of(place), EndpointConfigName=first)
    place.settled()


def answers_wrong(place):
    promoted(place, 2)
    arn = promoted(place, 3)
    samples = place.artifact_key(arn).replace("model.tar.gz", "evaluation/samples.json")
    body = place.s3.get_object(Bucket=BUCKET, Key=samples)["Body"].read()
    place.put(samples, body.replace(b"[3]", b"[7]"))


def approval_withdrawn(place):
    promoted(place, 2)
    place.approve(promoted(place, 3), "Rejected")


def fails_or_slow(place):
    promoted(place, 2, 3)
    variant = place.endpoint()["ProductionVariants"][0]["VariantName"]
    dimensions = {"EndpointName": name_of(place), "VariantName": variant}
    data = [
        {
            "MetricName": name,
            "Value": value,
            "Timestamp": datetime.now(timezone.utc) + timedelta(seconds=2),
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        }
        for name, value in (("Invocations", 100), ("Invocation5XXErrors", 7))
    ]
    place.cloud.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=data)


def alarm_on(place):
    promoted(place, 2, 3)
    alarm(place, "breaching")


def alarm_missing(place):
    promoted(place, 2)
    alarm(place)


def alarm_without_data(place):
    promoted(place, 2)
    alarm(place, "missing")


def too_few_instances(place):
    promoted(place, 2)
    variants = place.endpoint()["ProductionVariants"]
    variants[0] |= {"CurrentInstanceCount": 1, "DesiredInstanceCount": 2}
    del variants[0]["DeployedImages"]
    serves(place, ProductionVariants=variants)


def healthy(place):
    promoted(place, 2)


STATES = {
    make.__name__.replace("_", " "): make
    for make in (
        *(cannot_be_read, in_progress, changed_by_others_now, lock_damaged, ledger_damaged),
        *(interrupted, endpoint_deleted, first_creation_failed, nothing_deployed, failed),
        *(configuration_deleted, weights_changed_by_hand, not_ours, changed_by_hand),
        *(answers_wrong, approval_withdrawn, fails_or_slow, alarm_on, alarm_missing),
        *(alarm_without_data, too_few_instances, healthy),
    )
}
WORDS = {"answers wrong": ["--probe"]}  # what `status` is asked for


def status(place, state="", stage="staging"):
    return place.deploy("status", *WORDS.get(state, []), stage=stage)


def typed(place, command):
    """Do what a command says, as it stands; return the result of a `deploy-model`."""
    words = shlex.split(command)
    if words[0] == "deploy-model":
        return place.typed(words[1:])
    assert words[:2] == ["aws", "sagemaker"], command
    operation, options = words[2], {}
    for word in words[3:]:
        if word.startswith("--"):
            options[name := word] = []
        else:
            options[name].append(word)
    assert options.pop("--region") == ["us-east-1"]
    options.pop("--endpoint-url", None)
    members = {_member(name): _value(values) for name, values in options.items()}
    with contextlib.suppress(KeyError):
        assert members["EndpointName"] == name_of(place)
    getattr(place.sm, operation.replace("-", "_"))(**members)
    if operation == "delete-endpoint":
        until(lambda: place.live() is None)
    else:
        place.settled()
    return None


def _member(flag):
    return "".join(word.title() for word in flag.strip("-").split("-"))


def _value(values):
    """A value of the AWS CLI; its shorthand `A=b,C=d` is a structure in a list."""
    if "=" not in values[0]:
        return values[0]
    pairs = [dict(part.split("=") for part in value.split(",")) for value in values]
    return [{**pair, "DesiredWeight": float(pair["DesiredWeight"])} for pair in pairs]
