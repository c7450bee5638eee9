"""Commands of the AWS CLI in messages act in the place that the message is about, and no other."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from deploy_helpers import IMAGE, ROLE
from evidence_helpers import deployed, endpoint, entries, pin, request, state, target
from sagemaker_project.clock import Clock
from sagemaker_project.deploy.aws import Aws
from sagemaker_project.deploy.calls import sagemaker
from sagemaker_project.deploy.creation import altered_copies, lost_for_good
from sagemaker_project.deploy.endpoint_gates import endpoint_is_not_busy, endpoint_is_ours
from sagemaker_project.deploy.evidence import Parts
from sagemaker_project.deploy.ledger_look import examine_ledger, intact_ledger
from sagemaker_project.deploy.ledger_writer import check_last
from sagemaker_project.deploy.recovery import missing_config, recovery
from sagemaker_project.errors import ProjectError

ALARMS = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
HERE = replace(target(DeploymentConfig=ALARMS), region="eu-west-1", flags=("--local",))
STARTED = ("Started", {"Action": "promote", "Deployment": deployed(1), "Creates": {}})
SERVING = entries(STARTED, ("Promoted", STARTED[1]))
PENDING = entries(STARTED)
SERVED = deployed(1)["EndpointConfigName"]
COMMAND = re.compile(r"aws (?:s3|s3api|sagemaker|cloudwatch) .*?(?=aws s|aws c|deploy-model |$)")


def seen(found, **changes):
    return state(target=HERE, endpoint={"EndpointArn": "arn", **found}, **changes)


def busy():
    updating = endpoint("x", "Updating", PendingDeploymentSummary={"EndpointConfigName": SERVED})
    about = seen(updating, ledger=PENDING, request=request(command="cleanup"))
    endpoint_is_not_busy(about)


def damaged_ledger(read):
    """Read a ledger whose only entry is damaged; return what it warns of."""
    warnings = []
    key = f"{HERE.ledger_folder}/00000001.json"
    aws = SimpleNamespace(pages=lambda *_, **__: [{"Key": key}], get_object=lambda *_: b"{}")
    read(SimpleNamespace(aws=aws, warn=warnings.append), HERE, {})
    return warnings


def replaced_entry():
    aws = SimpleNamespace(get_object=lambda *_: b"")
    check_last(SimpleNamespace(aws=aws, target=HERE), SERVING)


class Occupied(Aws):
    """AWS that has something else under every name."""

    def send(self, service, operation, members):
        error = {"Code": "ValidationException", "Message": "it already exists"}
        raise ClientError({"Error": error}, operation)

    def read(self, service, operation, **members):
        return {}


def made_meanwhile(operation, name):
    aws = Occupied(HERE.region, 60, Clock())
    aws.aws_flags = HERE.aws_flags
    aws.change(sagemaker(operation, {name: "x"}))


MESSAGES = {
    "failed": lambda: [recovery(HERE, "Failed", SERVING)],
    "its rollback failed": lambda: [recovery(HERE, "UpdateRollbackFailed", SERVING)],
    "configuration gone": lambda: [missing_config(seen(endpoint("by-hand")))],
    "not ours": lambda: endpoint_is_ours(seen(endpoint("by-hand"), tags={})),
    "busy": busy,
    "copy changed": lambda: altered_copies(HERE, [pin(1)], {pin(1)["ServedUrl"]: "x"}),
    "copy gone": lambda: lost_for_good(HERE, deployed(1), Parts()),
    "ledger damaged": lambda: damaged_ledger(intact_ledger),
    "ledger damaged, a warning": lambda: damaged_ledger(examine_ledger),
    "entry replaced": replaced_entry,
    "model made meanwhile": lambda: made_meanwhile("CreateModel", "ModelName"),
    "configuration made meanwhile": lambda: made_meanwhile(
        "CreateEndpointConfig", "EndpointConfigName"
    ),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_every_command_of_a_message_names_region_and_endpoint_url(message):
    try:
        messages = list(message())
    except ProjectError as error:
        messages = [str(error)]
    commands = [command for text in messages for command in COMMAND.findall(text)]
    assert commands, messages
    for command in commands:
        assert '--region eu-west-1 --endpoint-url "$AWS_ENDPOINT_URL"' in command, command


def test_with_local_a_model_that_is_made_meanwhile_is_to_be_deleted_there(place, monkeypatch):
    """The place's server stands for the one that --local would start."""
    monkeypatch.setattr("sagemaker_project.deploy.deploy_model._start_local", lambda *_: None)

    asked = []

    def make_it_first(evidence):
        asked.append(evidence)
        if len(asked) < 2:  # it is asked again under the lock
            return
        name = evidence.candidate.models[0]["ModelName"]
        container = {"Image": IMAGE, "Environment": {"MADE": "by hand"}}
        place.sm.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)

    place.gates = (make_it_first,)
    result = place.deploy("promote", "--local", "--model-package-arn", place.register())
    assert "it has just been made" in result["Message"], result
    (command,) = COMMAND.findall(result["Message"])
    assert '--region us-east-1 --endpoint-url "$AWS_ENDPOINT_URL")' in command
