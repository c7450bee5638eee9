"""What the last stage serves, as run-pipeline gives it to an execution."""

import hashlib
from types import SimpleNamespace

import pytest
from deploy_helpers import BUCKET, artifact, project_in
from sagemaker_project.build.champion import Champion, champion_parameters, find_champion
from sagemaker_project.deploy.target import PACKAGE_TAG
from sagemaker_project.errors import RunFailed, UsageError

NOTHING = dict.fromkeys(("ChampionPackageArn", "ChampionModelUrl", "ChampionModelSha256"), "none")


def champion(place, monkeypatch, **options):
    monkeypatch.setitem(place.environment, "SAGEMAKER_PROJECT_NAME", place.name)
    monkeypatch.setitem(place.environment, "SOURCE_MODEL_PACKAGE_GROUP_NAME", place.group)
    with place.entered():
        return find_champion(project_in(place.project), **options)


def first_in(place, stage, factor=2):
    """A version in a stage, which no stage has to test before."""
    arn = place.register(factor=factor)
    place.staged(arn)
    if stage == "prod":
        result = place.deploy("promote", "--model-package-arn", arn, stage="prod")
        assert result["ExitCode"] == 0, result
    return arn


def wanted(place, arn, factor=2):
    sha256 = hashlib.sha256(artifact(factor)).hexdigest()
    url = f"s3://{BUCKET}/{place.name}/deploy/prod/artifacts/{sha256}/model.tar.gz"
    return Champion(arn, url, sha256)


def test_nothing_serves(place, monkeypatch):
    first_in(place, "staging")  # which is not the last stage
    assert champion(place, monkeypatch).parameters == NOTHING
    assert champion(place, monkeypatch, pipeline="never_deployed").parameters == NOTHING
    assert champion(place, monkeypatch, region="us-east-1").parameters == NOTHING


def test_the_version_that_serves_is_found_whatever_is_lost(place, monkeypatch):
    arn = first_in(place, "prod")
    found = champion(place, monkeypatch)
    assert found == wanted(place, arn)
    assert found.parameters == {
        "ChampionPackageArn": arn,
        "ChampionModelUrl": found.model_url,
        "ChampionModelSha256": found.model_sha256,
    }
    # Deleted while it serves, which SageMaker allows: the ledger knows it.
    name = place.live("prod")
    config = place.sm.describe_endpoint_config(EndpointConfigName=name)
    place.sm.delete_endpoint_config(EndpointConfigName=name)
    assert champion(place, monkeypatch) == found
    # Made again by hand, without tags, and without a ledger: the model's tag knows it.
    place.sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=config["ProductionVariants"]
    )
    place.forget_head("prod")
    prefix = f"{place.name}/deploy/prod/ledger/"
    for item in place.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]:
        place.s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    assert champion(place, monkeypatch) == found
    # Nothing knows it.
    for variant in config["ProductionVariants"]:
        model = place.sm.describe_model(ModelName=variant["ModelName"])
        place.sm.delete_tags(ResourceArn=model["ModelArn"], TagKeys=[PACKAGE_TAG])
    with pytest.raises(RunFailed, match=r"name a model package.*Champion=none"):
        champion(place, monkeypatch)


DECLARED = {name: {"Name": name} for name in NOTHING} | {"Champion": {"DefaultValue": "prod"}}


def parameters(place, monkeypatch, declared=DECLARED, module="pipelines.abalone.pipeline", **given):
    monkeypatch.setitem(place.environment, "SAGEMAKER_PROJECT_NAME", place.name)
    request = SimpleNamespace(module_name=module, region="us-east-1")
    with place.entered():
        return champion_parameters(project_in(place.project), request, declared, given)


def test_an_execution_gets_the_champion_that_its_parameters_ask_for(place, monkeypatch):
    arn = first_in(place, "prod")
    found = wanted(place, arn).parameters
    assert parameters(place, monkeypatch) == found
    assert parameters(place, monkeypatch, Champion="none") == {}
    assert parameters(place, monkeypatch, ChampionPackageArn=arn) == {}  # all three are the user's
    without = {**DECLARED, "Champion": {"DefaultValue": "none"}}
    assert parameters(place, monkeypatch, without) == {}
    assert parameters(place, monkeypatch, without, Champion="prod") == found
    assert parameters(place, monkeypatch, module="pipelines.churn.pipeline") == {}
    only = {"ChampionPackageArn": {}}
    assert parameters(place, monkeypatch, only) == {"ChampionPackageArn": arn}
    assert parameters(place, monkeypatch, {"Seed": {}}) == {}


def test_an_endpoint_that_serves_nothing_is_no_champion(place, monkeypatch):
    first_in(place, "prod")
    members = {"EndpointStatus": "Failed"}
    place.inject("DescribeEndpoint", "answer", times=None, members=members)
    assert champion(place, monkeypatch).parameters == NOTHING


def test_an_artifact_that_is_gone_is_refused(place, monkeypatch):
    first_in(place, "prod")
    key = place.copy_key("prod")
    place.s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(RunFailed, match=f"{key} is gone: restore it; or .*Champion=none"):
        champion(place, monkeypatch)


def test_what_cannot_be_read_is_an_error_and_not_no_champion(place, monkeypatch):
    place.inject("DescribeEndpoint", "denied", times=None)
    with pytest.raises(RunFailed, match=r"may not sagemaker:DescribeEndpoint.*Champion=none"):
        champion(place, monkeypatch)
    place.clear_faults()
    place.settings("prod", AccountId="999999999999")
    with pytest.raises(UsageError, match=r"what prod serves: .*999999999999.*Champion=none"):
        champion(place, monkeypatch)
