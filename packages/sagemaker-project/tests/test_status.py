"""`deploy-model status`: what SageMaker says, what the ledger thinks, and what to type."""

import contextlib
import io
import threading
from unittest.mock import Mock

import pytest
from botocore.exceptions import TokenRetrievalError
from deploy_helpers import BUCKET, Hurried, changing, some, until
from on_call_helpers import (
    changed_by_hand,
    first_creation_failed,
    interrupt,
    lock,
    name_of,
    promoted,
    serves,
    status,
    typed,
)
from sagemaker_project.deploy.aws import Aws
from sagemaker_project.deploy.client import Client


def shown(place, *words):
    """What a person reads: (exit code, standard output, standard error)."""
    arguments = [word for word in place.arguments(*words) if word != "--json"]
    out, err = io.StringIO(), io.StringIO()
    with place.entered(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = place.main(arguments)
    return code, out.getvalue(), err.getvalue()


def test_after_a_change_by_hand_the_first_line_has_what_serves_and_the_difference(place):
    changed_by_hand(place)
    code, out, _ = shown(place, "status")
    first, *_, last = out.splitlines()
    assert code == 1 and "version 1 serves; the ledger says version 2" in first
    assert last.startswith("next: deploy-model promote --stage staging --model-package-arn arn:")
    result = status(place)
    assert result["ModelPackageArn"].endswith("/1") and result["ModelPackageVersion"] == "1"


def test_after_a_promotion_that_sagemaker_finished_alone_the_first_line_says_so(place):
    promoted(place, 2)
    interrupt(place, place.register(factor=3))
    result = status(place)
    assert (result["ExitCode"], result["Verdict"]) == (1, "degraded")
    assert "version 2 serves; the ledger says version 1" in result["Message"]
    assert "SageMaker finished it" in result["Message"]


def test_a_configuration_that_the_ledger_does_not_know_is_told_by_its_model(place):
    """Its version and approver come from the package that its model names."""
    promoted(place, 2)
    other = place.register(factor=3)
    name = f"{place.name}-by-hand"
    role = "arn:aws:iam::123456789012:role/endpoint"
    place.sm.create_model(
        ModelName=name, PrimaryContainer={"ModelPackageName": other}, ExecutionRoleArn=role
    )
    live = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
    variants = [{**v, "ModelName": name} for v in live["ProductionVariants"]]
    place.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    place.sm.update_endpoint(EndpointName=name_of(place), EndpointConfigName=name)
    place.settled()
    result = status(place)
    assert result["ModelPackageArn"] == other and result["ExitCode"] == 1
    assert (
        f"version 2 serves; the ledger says version 1 ({live['EndpointConfigName']})"
        in (result["Message"])
    )
    assert result["Variants"][0]["ModelPackageArn"] == other
    assert result["GitCommit"] == "0123456789abcdef" and result["Approval"]["By"] != "unknown"


def test_a_model_without_a_package_is_told_by_its_tag_else_it_is_unknown(place):
    promoted(place, 2)
    arn = place.register(factor=3)
    package = place.sm.describe_model_package(ModelPackageName=arn)
    [found] = package["InferenceSpecification"]["Containers"]
    container = {name: found[name] for name in ("Image", "ModelDataUrl", "Environment")}
    live = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
    for tags, version in (([], "unknown"), ([{"Key": TAG, "Value": arn}], "2")):
        name = f"{place.name}-{version}"
        role = "arn:aws:iam::123456789012:role/endpoint"
        place.sm.create_model(
            ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role, Tags=tags
        )
        variants = [{**v, "ModelName": name} for v in live["ProductionVariants"]]
        place.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        place.sm.update_endpoint(EndpointName=name_of(place), EndpointConfigName=name)
        place.settled()
        result = status(place)
        assert f"version {version} serves; the ledger says version 1" in result["Message"]
        assert result["ExitCode"] == 1


TAG = "sagemaker-project:model-package-arn"


def test_why_a_first_creation_failed_stays_visible(place):
    first_creation_failed(place)
    assert "does not load" in status(place)["Message"]


@pytest.mark.acceptance
def test_both_stages_in_one_view_and_the_worst_verdict(place):
    place.in_prod(place.register())  # whose alarms do not exist
    result = place.deploy("status", stage=None)
    assert [stage["Stage"] for stage in result["Stages"]] == ["staging", "prod"]
    assert [stage["ExitCode"] for stage in result["Stages"]] == [0, 1]
    assert (result["ExitCode"], result["Verdict"], result["Stage"]) == (1, "degraded", None)
    assert "-staging is healthy" in result["Message"] and "-prod is degraded" in result["Message"]
    assert "the owner of the alarm" in result["Who"]


@pytest.mark.parametrize(
    "operation, part",
    [
        ("DescribeModelPackage", "package"),
        ("DescribeModel", "models"),
        ("DescribeEndpointConfig", "endpoint configuration"),
    ],
)
def test_what_cannot_be_read_does_not_blind_the_rest(place, operation, part):
    promoted(place, 2)
    place.inject(operation, "denied", times=None)
    result = status(place)
    assert result["Verdict"] == "healthy" and result["ModelPackageVersion"] == "1"
    unread = " ".join(f"{name}: {reason}" for name, reason in result["Unread"].items())
    assert part in unread and f"may not sagemaker:{operation}" in unread


def test_credentials_that_end_while_the_traffic_is_read_do_not_blind_the_rest(place, monkeypatch):
    """Its client is one of its own; its errors are told as those of the others."""
    promoted(place, 2)

    def client(aws, service):
        client = Client.client(Aws(aws.region, 60, aws.clock), service)
        ended = TokenRetrievalError(provider="sso", error_msg="expired")
        monkeypatch.setattr(client, "get_metric_data", Mock(side_effect=ended))
        return client

    monkeypatch.setattr(Aws, "client_in_haste", client)
    result = status(place)
    assert (result["ExitCode"], list(result["Unread"])) == (0, ["traffic"]), result
    assert "AWS credentials: " in result["Unread"]["traffic"]
    assert "log in again" in result["Unread"]["traffic"]


def test_one_thread_at_a_time_makes_clients(monkeypatch):
    made, together, both = [], [], threading.Barrier(2)

    class Session:
        def client(self, service, **_):
            made.append(service)
            with contextlib.suppress(threading.BrokenBarrierError):
                together.append(both.wait(0.2))  # the other thread is in here, too
            return Mock()

    monkeypatch.setattr(Client, "session", Session())
    aws = Aws("us-east-1", 60, Hurried())
    makers = [aws.client, aws.client_in_haste]
    threads = [threading.Thread(target=make, args=("cloudwatch",)) for make in makers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, together) == (["cloudwatch"] * 2, [])


def test_a_ledger_that_cannot_be_read_is_no_ledger_that_agrees(place):
    promoted(place, 2)
    place.inject("ListObjectsV2", "denied", times=None, service="s3")
    result = status(place)
    assert (result["Verdict"], result["ModelPackageVersion"]) == ("degraded", "1")
    assert "ledger unknown" in result["Message"] and "s3:ListBucket" in result["Who"]


def test_status_changes_nothing(place):
    promoted(place, 2)
    for words in (["status"], ["status", "--probe"]):
        _, calls = place.logged(*words)
        assert changing(calls) == []


def test_a_probe_says_whether_the_answer_was_right(place):
    arn = promoted(place, 2)
    result = place.deploy("status", "--probe")
    assert result["Probe"]["status"] == "Passed" and result["ExitCode"] == 0
    key = place.artifact_key(arn).replace("model.tar.gz", "evaluation/samples.json")
    body = place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    place.put(key, body.replace(b"[2]", b"[9]"))
    result = place.deploy("status", "--probe")
    assert result["Probe"]["status"] == "Failed" and result["ExitCode"] == 1


def test_a_canary_shows_how_far_it_is_and_when_it_ends(place):
    promoted(place, 2)
    began = place.endpoint()["LastModifiedTime"]
    policy = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                "WaitIntervalInSeconds": 600,
            },
            "MaximumExecutionTimeoutInSeconds": 3600,
        }
    }
    variant = {
        "VariantName": "AllTraffic",
        "CurrentInstanceCount": 1,
        "DesiredInstanceCount": 2,
        "VariantStatus": [{"Status": "Baking", "StartTime": began.timestamp()}],
    }
    pending = {
        "EndpointConfigName": place.live(),
        "StartTime": began.timestamp(),
        "ProductionVariants": [variant],
    }
    serves(place, "Updating", PendingDeploymentSummary=pending, LastDeploymentConfig=policy)
    lock(place)
    _, out, _ = shown(place, "status")
    assert "canary of 50 % for 600 s, then all, 1 of 2 new instances of AllTraffic, Baking" in out
    update = status(place)["Update"]
    assert update["ModelPackageArn"].endswith("/1")
    assert update["NextStepTime"] and update["EndsBefore"]


def test_watch_repeats_until_nothing_changes_any_more(place):
    """A line for each change, and the exit code of the last verdict."""
    promoted(place, 2)
    place.clock = Hurried()
    members = {"EndpointStatus": "Updating", "FailureReason": "at work"}
    # Each look describes the endpoint of the stage after, too.
    place.inject("DescribeEndpoint", "answer", times=6, members=members)
    code, out, err = shown(place, "status", "--watch")
    assert code == 0 and out.splitlines()[0].startswith(f"{name_of(place)} is healthy")
    assert err.count("it is Updating") == 1 and place.clock.waited == 30


def test_watch_ends_at_ctrl_c_with_the_last_verdict(place):
    """Also in the middle of a wait."""
    import os
    import signal

    promoted(place, 2)
    serves(place, "Updating")

    class Stopped(Hurried):
        def sleep(self, seconds):
            assert threading.current_thread() is threading.main_thread()
            os.kill(os.getpid(), signal.SIGINT)

    place.clock = Stopped()
    result = place.deploy("status", "--watch")
    assert (result["ExitCode"], result["Outcome"]) == (1, "Updating")


def test_the_command_to_type_next_leads_from_the_approval_to_the_last_stage(place):
    place.settings("prod", DeploymentConfig=None)
    arn = place.register(approve=False)
    refused = place.deploy("promote", "--model-package-arn", arn)
    assert f"deploy-model approve {arn} --reason " in refused["Message"]
    result = place.deploy("approve", arn, "--reason", "good", stage=None)
    seen = []
    while result["Command"] != "status":
        assert result["ExitCode"] == 0, result
        seen.append((result["Command"], result["Stage"]))
        result = typed(place, result["Next"])
    assert seen == [
        ("approve", None),
        ("promote", "staging"),
        ("test", "staging"),
        ("promote", "prod"),
    ]
    assert result["ExitCode"] == 0 and result["Stage"] == "prod"
    until(lambda: place.version("prod") == 1)


@pytest.mark.acceptance
def test_uncommitted_changes_are_shown_everywhere_and_refused_in_the_last_stage(place):
    place.settings("prod", DeploymentConfig=None)
    arn = place.register()
    metadata = {"GitCommit": "0123456789abcdef-dirty"}
    place.sm.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties=metadata)
    place.staged(arn)
    _, out, _ = shown(place, "status")
    assert "0123456789ab with uncommitted changes" in out
    assert status(place)["Uncommitted"] is True
    words = ("promote", "--model-package-arn", arn)
    result, calls = place.logged(*words, stage="prod")
    assert result["ExitCode"] == 3 and "--accept-uncommitted" in result["Message"]
    assert [call for call in changing(calls) if call["service"] == "sagemaker"] == []
    planned = place.deploy("plan", *words[1:], "--accept-uncommitted", stage="prod")
    assert "with uncommitted changes" in planned["Notes"][0]
    result = typed(place, planned["Next"])
    assert result["ExitCode"] == 0, result
    entries = place.entries("prod")
    assert [entry["Deployment"].get("AcceptedUncommitted") for entry in entries] == [True, True]


def test_uncommitted_changes_pass_where_the_settings_allow_them(place):
    place.settings("prod", DeploymentConfig=None, AllowUncommitted=True)
    arn = place.register()
    metadata = {"GitCommit": "0123456789abcdef-dirty"}
    place.sm.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties=metadata)
    assert place.in_prod(arn)
    assert "AcceptedUncommitted" not in place.entries("prod")[-1]["Deployment"]


@pytest.mark.parametrize("stage", some(["prod", "staging"]))
def test_without_the_default_bucket_nothing_was_deployed(place, stage):
    place.register()
    other = place.deploy("status", "--s3-bucket", "there-is-none", stage=stage)
    assert other["Verdict"] == "unknown" and "the bucket does not exist" in other["Message"]
    gone = {"code": "NoSuchBucket", "message": "does not exist", "status": 404}
    place.inject("ListObjectsV2", "error", times=None, service="s3", **gone)
    result = status(place, stage=stage)
    assert (result["State"], result["ExitCode"]) == ("nothing deployed", 0), result["Message"]
    assert result["Next"].startswith(f"aws s3 mb s3://{BUCKET} --region us-east-1")
    assert "must create the bucket" in result["Who"] and not result["Unread"]


def test_without_an_answer_of_aws_the_stage_is_unknown(place):
    place.clock = Hurried()
    place.environment = {**place.environment, "AWS_MAX_ATTEMPTS": "1"}  # boto3 waits in real time
    place.inject("GetCallerIdentity", "error503", times=None, service="sts")
    result = status(place)
    assert result["ExitCode"] == 4 and result["Message"].startswith("staging is unknown: ")
