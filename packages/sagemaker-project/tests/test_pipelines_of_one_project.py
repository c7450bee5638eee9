"""Several pipelines in one repository, and other stages: each with endpoints of its own."""

import contextlib
import io
import json
from dataclasses import replace

import pytest
from deploy_helpers import ROLE, Place, environment, project_in, refused
from sagemaker_project import Project, deploy
from sagemaker_project.deploy.endpoint_gates import endpoint_is_of_this_group
from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.target import Target

FAST = {"DeploymentConfig": None, "RetainAllVariantProperties": None, "DataCaptureConfig": None}


class OfPipeline(Place):
    """A project whose commands name a pipeline that is not its first one."""

    pipeline = "customer_churn"

    def main(self, arguments):
        return deploy.main(project_in(self.project, name=self.name), arguments)

    def arguments(self, *words, stage=None):
        command, *rest = map(str, words)
        own = ("--pipeline", self.pipeline, "--model-package-group-name", self.group)
        role = ("--model-execution-role", ROLE, "--json")
        return [command, "--stage", stage or "staging", *own, *role, *rest]

    def endpoint(self, stage="staging"):
        return self.sm.describe_endpoint(EndpointName=f"{self.name}-customer-churn-{stage}")


@pytest.fixture
def churn(place, cloud, deploy_project):
    """A second pipeline of the same project as `place`, with settings and a group of its own."""
    for stage in ("staging", "prod"):
        place.settings(stage, **FAST)
        content = (deploy_project / f"deploy/{stage}-config.json").read_text()
        path = deploy_project / f"deploy/customer_churn/{stage}-config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    churn = OfPipeline(cloud, deploy_project, environment(cloud), place.workdir)
    churn.name = place.name
    return churn


def test_two_pipelines_are_deployed_side_by_side(place, churn):
    place.in_prod(place.register(factor=2))
    churn.in_prod(churn.register(factor=5))
    for stage in ("staging", "prod"):
        assert place.answer("1", stage) == [2.0]
        assert churn.endpoint(stage)["EndpointConfigName"].startswith(
            f"{place.name}-customer-churn-{stage}-v1-"
        )
    churn.in_prod(churn.register(factor=6))
    assert place.version("prod") == 1
    # Nothing of the one is for the other to delete.
    assert place.deploy("cleanup")["Deleted"] == []
    assert churn.deploy("status", stage="prod")["Current"]["ModelPackageVersion"] == 2
    assert place.deploy("status", stage="prod")["Current"]["ModelPackageVersion"] == 1
    assert churn.deploy("rollback", stage="prod")["Outcome"] == "RolledBack"
    assert place.answer("1", "prod") == [2.0]


def test_prod_asks_for_the_staging_test_of_the_same_pipeline(place, churn):
    place.staged(place.register())
    arn = churn.register()
    result = churn.deploy("promote", "--model-package-arn", arn, stage="prod")
    assert (result["ExitCode"], result["Outcome"]) == (3, "Refused")
    assert "version 1 was not tested in staging" in result["Message"]


def test_a_package_of_another_group_never_replaces_what_serves(place, churn):
    place.staged(place.register())
    other = churn.register(factor=5)
    words = ("promote", "--model-package-arn", other, "--model-package-group-name", churn.group)
    refused(*place.logged(*words), place.group, churn.group, "--pipeline")
    words = ("promote", "--latest-approved", "--model-package-group-name", churn.group)
    refused(*place.logged(*words), place.group, churn.group, "--pipeline")
    assert place.answer("1") == [2.0]


def test_the_first_pipeline_may_be_named(place):
    arn = place.register()
    words = ("promote", "--model-package-arn", arn, "--pipeline", "abalone")
    assert place.deploy(*words)["ExitCode"] == 0
    assert place.deploy("status")["EndpointName"] == f"{place.name}-staging"


def test_a_pipeline_without_settings_is_refused_with_those_that_there_are(place, churn):
    for words in (("promote", "--latest-approved"), ("rollback",), ("status",)):
        result, calls = place.logged(*words, "--pipeline", "customer_chrun")
        refused(result, calls, "--pipeline customer_chrun", "Did you mean customer_churn?", code=2)
    for name in (".", "../deploy", "customer_churn/", "customer-churn"):
        result, calls = place.logged("status", "--pipeline", name)
        refused(result, calls, f"--pipeline {name}", code=2)


def test_the_group_of_a_pipeline_is_that_of_the_project_or_follows_from_its_name(deploy_project):
    project = project_in(deploy_project)
    assert project.group_of(None) == project.group_of("abalone") == "AbalonePackageGroup"
    assert project.group_of("customer_churn") == "CustomerChurnPackageGroup"


def test_the_variable_of_codebuild_is_about_the_first_pipeline(place, churn):
    """It is set in every build of a SageMaker project, whatever pipeline the build deploys."""
    place.register()
    churn.environment = churn.environment | {"SOURCE_MODEL_PACKAGE_GROUP_NAME": place.group}
    words = ["promote", "--stage", "staging", "--pipeline", churn.pipeline, "--latest-approved"]
    out = io.StringIO()
    with churn.entered(), contextlib.redirect_stdout(out):
        code = churn.main([*words, "--model-execution-role", ROLE, "--json"])
    assert code == 2, out.getvalue()
    assert "CustomerChurnPackageGroup does not exist" in json.loads(out.getvalue())["Message"]


@pytest.mark.parametrize("kinds", [("Started",), ("Started", "Promoted")])
def test_what_was_begun_keeps_an_endpoint_for_its_group(kinds):
    """Also a first creation that was killed, which SageMaker has finished meanwhile."""
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/one/1"
    deployment = {"ModelPackageArn": arn, "EndpointConfigName": "c", "Models": []}
    history = Ledger(tuple({"Kind": kind, "Deployment": deployment} for kind in kinds))
    target = Target("p", "", "", "staging", "", "us-east-1", "b", "r", "one", None)
    endpoint_is_of_this_group(State(None, target, None, history))
    with pytest.raises(deploy.Refused, match="group one, not of two.*--pipeline"):
        endpoint_is_of_this_group(State(None, replace(target, group="two"), None, history))
    endpoint_is_of_this_group(State(None, replace(target, group="two"), None, Ledger()))


def test_commands_to_type_name_the_pipeline(place, churn):
    arn = churn.register()
    result = churn.deploy("promote", "--model-package-arn", arn, stage="prod")
    where = "--stage staging --pipeline customer_churn"
    promote = f"deploy-model promote {where} --model-package-arn {arn} "
    assert (
        promote in result["Message"] and f", then deploy-model test {where} " in (result["Message"])
    )
    churn.staged(arn)
    message = churn.deploy("rollback")["Message"]
    assert f"deploy-model promote --stage staging --pipeline {churn.pipeline} --latest" in message


# Stages


@pytest.fixture
def three(cloud, deploy_project, tmp_path):
    """A project with three stages, all with the settings of staging."""
    three = Place(cloud, deploy_project, environment(cloud), tmp_path)
    settings = tmp_path / "settings"
    settings.mkdir()
    content = json.loads((deploy_project / "deploy/staging-config.json").read_text())
    for stage in ("dev", "test", "live"):
        (settings / f"{stage}-config.json").write_text(json.dumps(content))
    project = Project(three.name, "us-east-1", three.group, settings, ("dev", "test", "live"))
    three.main = lambda arguments: deploy.main(project, arguments)
    return three


def test_a_version_passes_every_stage_in_turn(three):
    arn = three.register()
    for stage, before in (("live", "test"), ("test", "dev")):
        result = three.deploy("promote", "--model-package-arn", arn, stage=stage)
        assert result["ExitCode"] == 3
        assert f"version 1 was not tested in {before}" in result["Message"]
        assert f"promote --stage {before}" in result["Message"]
    for stage in ("dev", "test"):
        assert three.deploy("promote", "--model-package-arn", arn, stage=stage)["ExitCode"] == 0
        assert three.deploy("test", stage=stage)["Outcome"] == "Passed"
    assert three.deploy("promote", "--model-package-arn", arn, stage="live")["ExitCode"] == 0
    assert three.answer("1", "live") == [2.0]


def test_a_stage_that_the_project_does_not_have_is_a_wrong_command_line(three, capsys):
    words = three.arguments("status", stage="prod")
    with pytest.raises(SystemExit) as end:
        three.main(words)
    assert end.value.code == 2
    assert "choose from 'dev', 'test', 'live'" in capsys.readouterr().err


def test_only_the_last_stage_must_have_alarms_for_a_canary(three, tmp_path):
    canary = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
                "WaitIntervalInSeconds": 60,
            },
            "TerminationWaitInSeconds": 0,
            "MaximumExecutionTimeoutInSeconds": 3600,
        }
    }
    for stage in ("dev", "live"):
        path = tmp_path / f"settings/{stage}-config.json"
        content = json.loads(path.read_text()) | {"DeploymentConfig": canary}
        content["ProductionVariants"][0]["InitialInstanceCount"] = 2
        path.write_text(json.dumps(content))
    arn = three.register()
    assert three.deploy("plan", "--model-package-arn", arn, stage="dev")["ExitCode"] == 0
    result = three.deploy("plan", "--model-package-arn", arn, stage="live")
    assert result["ExitCode"] == 2 and "without an alarm is never rolled back" in result["Message"]
