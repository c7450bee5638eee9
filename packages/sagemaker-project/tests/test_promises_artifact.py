"""What was checked is what serves, whatever becomes of the original; and what was deleted by hand
is created again: P4, P9, P11, P22.
"""

import signal

import pytest
from boundary_helpers import CLIENTS, kill, run
from deploy_helpers import BUCKET, IMAGE, SERVING, artifact, refused, some

ONE = [{"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
PACKAGE_TAG = "sagemaker-project:model-package-arn"


@pytest.fixture(autouse=True)
def plain(place):
    place.settings("staging", ProductionVariants=ONE, DeploymentConfig=None)


def promoted(place, arn, *words):
    result = place.deploy("promote", "--model-package-arn", arn, *words)
    assert result["ExitCode"] == 0, result
    return arn


def two_versions(place):
    """The artifact copy of version 1, which version 2 has followed, and version 1's ARN."""
    first = promoted(place, place.register(factor=2))
    copy = place.copy_key()
    promoted(place, place.register(factor=3))
    return copy, first


def body_of(place, key):
    return place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def delete(place, key):
    place.s3.delete_object(Bucket=BUCKET, Key=key)


def at_the_second_look(act):
    """A gate that acts once, behind all that the command reads."""
    looks = []

    def gate(evidence):
        looks.append(evidence)
        if len(looks) == 2:
            act(evidence)

    return (gate,)


# P4: the bytes


@pytest.mark.acceptance
@pytest.mark.parametrize("when", some(["CreateEndpoint", "CreateModel"]))
def test_p4_an_artifact_replaced_while_it_is_deployed_never_serves(place, monkeypatch, when):
    """Neither at once nor on instances that start later."""
    CLIENTS.install(monkeypatch)
    arn = place.register(factor=2)

    def replace(_):
        place.put(place.artifact_key(arn), artifact(factor=9))

    ended = run(place, ("promote", "--model-package-arn", arn), at=when, act=replace)
    assert ended.result["ExitCode"] == 0, ended.result
    place.sm.update_endpoint_weights_and_capacities(
        EndpointName=f"{place.name}-staging",
        DesiredWeightsAndCapacities=[{"VariantName": "All", "DesiredInstanceCount": 3}],
    )
    place.settled()
    assert [place.answer("1") for _ in range(12)] == [[2.0]] * 12
    assert body_of(place, place.copy_key()) == artifact(factor=2)


def test_p4_an_artifact_replaced_after_its_check_is_refused(place):
    promoted(place, place.register(factor=2))
    arn = place.register(factor=3)
    url = place.artifact_key(arn)
    place.gates = at_the_second_look(lambda _: place.put(url, artifact(factor=9)))
    result, calls = place.logged("promote", "--model-package-arn", arn)
    assert result["ExitCode"] == 3 and f"{url} was replaced" in result["Message"], result
    assert "CreateModel" not in {call["operation"] for call in calls}
    assert place.entries()[-1]["Kind"] == "Failed" and place.answer("1") == [2.0]


def test_p4_a_model_is_created_from_the_copy_and_the_image_by_its_digest(place):
    arn = promoted(place, place.register())
    (pin,) = place.entries()[-1]["Deployment"]["Pins"]
    (name,) = place.entries()[-1]["Deployment"]["Models"]
    model = place.sm.describe_model(ModelName=name)
    assert model["PrimaryContainer"] == {
        "Image": f"{IMAGE.partition(':')[0]}@{pin['ImageDigest']}",
        "ModelDataUrl": pin["ServedUrl"],
        "Environment": SERVING,
        "Mode": "SingleModel",
    }
    key = f"{place.name}/deploy/staging/artifacts/{pin['Sha256']}/model.tar.gz"
    assert pin["ServedUrl"] == f"s3://{BUCKET}/{key}"
    config = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
    for resource in (model["ModelArn"], config["EndpointConfigArn"]):
        tags = {t["Key"]: t["Value"] for t in place.sm.list_tags(ResourceArn=resource)["Tags"]}
        assert tags[PACKAGE_TAG] == arn


def test_p4_versions_beside_each_other_have_a_copy_each(place):
    promoted(place, place.register(factor=2))
    old = {**ONE[0], "VariantName": "Old", "ModelPackageVersion": 1}
    place.settings("staging", ProductionVariants=[ONE[0], old])
    promoted(place, place.register(factor=3))
    pins = place.entries()[-1]["Deployment"]["Pins"]
    keys = [pin["ServedUrl"].removeprefix(f"s3://{BUCKET}/") for pin in pins]
    assert [body_of(place, key) for key in keys] == [artifact(3), artifact(2)]
    models = place.entries()[-1]["Deployment"]["Resources"]["Models"]
    assert [m["PrimaryContainer"]["ModelDataUrl"] for m in models] == [p["ServedUrl"] for p in pins]


@pytest.mark.parametrize("member", some(["AdditionalS3DataSource", "ModelDataSource"]))
def test_p4_a_container_whose_bytes_cannot_be_pinned_is_refused(place, member):
    arn = place.register()
    package = place.sm.describe_model_package(ModelPackageName=arn)
    (container,) = package["InferenceSpecification"]["Containers"]
    data = {"S3DataType": "S3Object", "S3Uri": f"s3://{BUCKET}/other", "CompressionType": "None"}
    container[member] = {"S3DataSource": data} if member == "ModelDataSource" else data
    members = {"InferenceSpecification": package["InferenceSpecification"]}
    place.inject("DescribeModelPackage", "answer", times=None, members=members)
    refused(*place.logged("promote", "--model-package-arn", arn), arn, member)


# P4, P9: a copy that exists


@pytest.mark.parametrize("command", some(["promote", "rollback", "plan"]))
def test_p4_a_copy_with_other_bytes_is_refused_until_it_is_deleted(place, command):
    copy, first = two_versions(place)
    place.put(copy, artifact(factor=9))
    words = (command,)
    if command != "rollback":
        words = (command, "--model-package-arn", first, "--retry")
    refused(*place.logged(*words), f"s3://{BUCKET}/{copy} was changed by hand", "aws s3 rm")
    delete(place, copy)
    result = place.deploy(*words)
    assert result["ExitCode"] == 0, result
    if command != "plan":
        assert body_of(place, copy) == artifact(factor=2) and place.answer("1") == [2.0]


@pytest.mark.parametrize("factor, code", [(3, 0), (9, 3)])
def test_p9_a_copy_that_comes_to_exist_meanwhile_is_compared(place, factor, code):
    promoted(place, place.register(factor=2))
    arn = place.register(factor=3)

    def write(evidence):
        _, _, key = evidence.pins[0]["ServedUrl"].removeprefix("s3://").partition("/")
        place.put(key, artifact(factor))

    place.gates = at_the_second_look(write)
    result = place.deploy("promote", "--model-package-arn", arn)
    assert result["ExitCode"] == code, result
    assert ("was changed by hand" in result["Message"]) == (code == 3)
    assert place.answer("1") == [3.0 if code == 0 else 2.0]


# P22: what was deleted by hand


def of_version_1(place):
    (entry, _) = place.entries()[:2]
    return entry["Deployment"]


def delete_config(place):
    name = of_version_1(place)["EndpointConfigName"]
    place.sm.delete_endpoint_config(EndpointConfigName=name)


def delete_model(place):
    place.sm.delete_model(ModelName=of_version_1(place)["Models"][0])


def delete_copy(place):
    delete(place, of_version_1(place)["Pins"][0]["ServedUrl"].removeprefix(f"s3://{BUCKET}/"))


def delete_live_config(place):
    place.sm.delete_endpoint_config(EndpointConfigName=place.live())


DELETIONS = {
    "configuration": (delete_config,),
    "model": (delete_model,),
    "artifact copy": (delete_copy,),
    "configuration that serves": (delete_live_config,),
    "everything": (delete_config, delete_model, delete_copy, delete_live_config),
}


@pytest.mark.parametrize("deletions", some({k: (v,) for k, v in DELETIONS.items()}, "everything"))
def test_p22_a_rollback_creates_again_what_was_deleted(place, deletions):
    two_versions(place)
    before = place.resources()
    tags = tags_of_version_1(place)
    for remove in deletions:
        remove(place)
    assert place.resources() != before
    result = place.deploy("rollback")
    assert result["ExitCode"] == 0, result
    assert place.answer("1") == [2.0] and place.resources() == before
    assert tags_of_version_1(place) == tags
    assert place.deploy("promote", "--latest-approved", "--retry")["ExitCode"] == 0
    assert place.answer("1") == [3.0]


def tags_of_version_1(place):
    config = place.sm.describe_endpoint_config(
        EndpointConfigName=of_version_1(place)["EndpointConfigName"]
    )
    model = place.sm.describe_model(ModelName=of_version_1(place)["Models"][0])
    arns = (config["EndpointConfigArn"], model["ModelArn"])
    tags = [place.sm.list_tags(ResourceArn=arn)["Tags"] for arn in arns]
    return [sorted((tag["Key"], tag["Value"]) for tag in each) for each in tags]


def test_p8_p22_a_rollback_that_creates_again_goes_on_wherever_it_was_killed(place, monkeypatch):
    CLIENTS.install(monkeypatch)
    two_versions(place)
    before = place.resources()
    for remove in DELETIONS["everything"]:
        remove(place)
    for at, behind in (
        *(("CreateEndpointConfig", False), ("CreateEndpointConfig", True)),
        *(("CreateModel", False), ("CreateModel", True), ("UpdateEndpoint", True)),
    ):
        ended = run(place, ("rollback",), at=at, act=kill, behind=behind)
        assert ended.signal == signal.SIGKILL, (at, ended.result)
    result = place.deploy("rollback")
    assert result["ExitCode"] == 0 and place.answer("1") == [2.0], result
    assert place.resources() == before
    assert [entry["Kind"] for entry in place.entries()[4:]] == ["Started", "RolledBack"]


@pytest.mark.parametrize("left", some({"gone": (None,), "replaced": (9,)}))
def test_p22_a_copy_that_cannot_be_made_again_is_told(place, left):
    """By the command that says what an administrator has to do, and which then works."""
    copy, first = two_versions(place)
    original = place.artifact_key(first)
    delete(place, copy)
    delete(place, original) if left is None else place.put(original, artifact(left))
    what = "is gone" if left is None else "has other bytes"
    refused(*place.logged("rollback"), copy, original, what, "an administrator of the bucket")
    place.put(original, artifact(factor=2))
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [2.0]


def test_p22_a_resource_made_by_hand_under_the_name_of_a_deleted_one_is_refused(place):
    two_versions(place)
    (model,) = of_version_1(place)["Resources"]["Models"]
    place.sm.delete_model(ModelName=model["ModelName"])
    other = model["PrimaryContainer"] | {"Environment": {}}
    place.sm.create_model(**model | {"PrimaryContainer": other})
    refused(*place.logged("rollback"), model["ModelName"], "other content", "Delete it")
    place.sm.delete_model(ModelName=model["ModelName"])
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [2.0]


@pytest.mark.acceptance
def test_p22_a_promotion_creates_the_deleted_configuration_that_serves_again(place):
    promoted(place, place.register(factor=2))
    second = place.register(factor=3)
    for remove in (delete_config, delete_model, delete_copy):
        remove(place)
    planned = place.deploy("plan", "--model-package-arn", second)
    result, calls = place.logged("promote", "--model-package-arn", second)
    assert result["ExitCode"] == 0, result
    assert result["Calls"] == planned["Calls"]
    made = [call["operation"] for call in calls if call["operation"].startswith("Create")]
    assert made == ["CreateModel", "CreateEndpointConfig"] * 2
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [2.0]


@pytest.mark.parametrize("remove", some({"copy": (delete_copy,), "model": (delete_model,)}))
def test_p22_promoting_what_serves_creates_again_what_was_deleted(place, remove):
    arn = promoted(place, place.register())
    before = place.resources()
    remove(place)
    result, calls = place.logged("promote", "--model-package-arn", arn)
    assert result["Outcome"] == "Promoted" and place.resources() == before, result
    assert "UpdateEndpoint" not in {call["operation"] for call in calls}


# P10, P11: clean-up


@pytest.mark.acceptance
def test_p11_a_cleanup_keeps_the_copies_that_something_needs(place):
    """Version 1 is deployed twice, with other settings: both deployments share its copy."""
    copy, first = two_versions(place)
    place.settings("staging", ProductionVariants=[{**ONE[0], "InitialInstanceCount": 2}])
    promoted(place, first, "--retry")
    second = place.entries()[2]["Deployment"]["Pins"][0]["ServedUrl"]
    promoted(place, place.register(factor=4))
    deleted = place.deploy("cleanup")["Deleted"]
    keys = [item["Resource"] for item in deleted if item["Operation"] == "DeleteObject"]
    assert keys == [second.removeprefix(f"s3://{BUCKET}/")]
    assert place.entries()[-1]["Deleted"]["Artifacts"] == keys
    assert copy in place.resources()
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [2.0]
