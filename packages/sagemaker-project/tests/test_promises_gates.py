"""What may be deployed: P1 to P6 and P38, and inputs that `deploy-model` must refuse.

Each test goes through the command. "Untouched" means that no call of it changed anything.
"""

import itertools
import json
import random
import re

import pytest
from deploy_helpers import BUCKET, IMAGE, Place, artifact, changing, lists
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.deploy.names import digest, resource_name
from sagemaker_project.deploy.target import Target

APPROVALS = ("Approved", "Rejected", "PendingManualApproval")
STATUSES = ("Pending", "InProgress", "Completed", "Failed", "Deleting")
AT_ONCE = {"DeploymentConfig": None}
ACCOUNT = "123456789012"
OWN_IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"


def promote(place, arn, *words, stage="staging"):
    return place.logged("promote", "--model-package-arn", arn, *words, stage=stage)


def refused(result, calls, *parts, code=3):
    """The command said no in one line, and touched nothing."""
    assert changing(calls) == [], [call["operation"] for call in changing(calls)]
    assert result["ExitCode"] == code, result
    assert "\n" not in result["Message"] and "Traceback" not in result["stderr"]
    for part in parts:
        assert part in result["Message"], result["Message"]


def operations(calls):
    return [call["operation"] for call in calls]


# P1, P2: approval


def test_p1_only_what_is_approved_and_completed_is_deployed(place):
    arn = place.register()
    for approval in APPROVALS:
        for status in STATUSES:
            if (approval, status) == ("Approved", "Completed"):
                continue
            members = {"ModelApprovalStatus": approval, "ModelPackageStatus": status}
            place.inject("DescribeModelPackage", "answer", times=None, members=members)
            for which in (("--model-package-arn", arn), ("--latest-approved",)):
                result, calls = place.logged("promote", *which)
                wanted = approval if approval != "Approved" else status
                refused(result, calls, arn, wanted)
            place.clear_faults()
    result, calls = promote(place, arn)
    assert result["ExitCode"] == 0 and "CreateEndpoint" in operations(calls), result


@pytest.mark.parametrize(
    "stage, update", [("staging", "CreateEndpoint"), ("prod", "UpdateEndpoint")]
)
def test_p2_approval_is_looked_at_again_right_before_anything_serves(place, stage, update):
    """A rejection is seen wherever it falls: before the n-th look at the package, for each n."""
    place.settings("prod", **AT_ONCE)
    arn = place.register(factor=2)
    if stage == "prod":
        place.in_prod(arn)
        arn = place.staged(place.register(factor=3))
    before, looks, taken_back = place.live(stage), 0, False
    while True:
        place.inject(
            "DescribeModelPackage",
            "answer",
            times=None,
            after=looks,
            members={"ModelApprovalStatus": "Rejected"},
        )
        result, calls = promote(place, arn, "--retry", stage=stage)
        place.clear_faults()
        if result["ExitCode"] == 0:
            break
        assert "is Rejected" in result["Message"], result
        taken_back = result["ExitCode"] == 1
        assert taken_back or result["ExitCode"] == 3, result
        assert (update in operations(calls)) is taken_back
        assert place.live(stage) == before
        looks += 1
    # When it plans, under the lock, right before the endpoint changes, and when it has changed.
    assert looks >= 4 and taken_back
    sagemaker = [call for call in calls if call["service"] == "sagemaker"]
    at = operations(sagemaker).index(update)
    assert sagemaker[at - 1]["operation"] == "DescribeModelPackage"


def test_p2_a_package_rejected_after_staging_does_not_reach_prod(place):
    arn = place.staged(place.register())
    place.approve(arn, "Rejected", "too slow")
    refused(*promote(place, arn, stage="prod"), arn, "Rejected")
    assert place.live("prod") is None


# P3: which version


def test_p3_the_named_version_is_deployed_not_the_latest(place):
    first = place.register(factor=2)
    place.register(factor=3)
    result, _ = promote(place, first)
    assert result["ExitCode"] == 0 and place.version() == 1
    assert place.answer("4") == [8.0]


@pytest.fixture
def crowd(place):
    """A group of 250 versions, of which all but the last 20 are approved; the ARN of number 230."""
    for number in range(1, 251):
        if number == 230:
            arn = place.register(factor=5)
        else:
            place.sm.create_model_package(
                ModelPackageGroupName=place.group,
                ModelApprovalStatus="Approved" if number < 230 else "PendingManualApproval",
            )
    return arn


def test_p3_latest_is_the_highest_approved_version_whatever_the_order_of_the_list(place, crowd):
    """250 packages as the emulator lists them, and as other servers might."""

    def shuffled(_, items):
        return random.Random(7).sample(items, len(items))

    result, calls = place.logged("plan", "--latest-approved")
    assert result["ModelPackageArn"] == crowd, result
    assert operations(calls).count("ListModelPackages") == 3
    for order in (lambda _, items: items, lambda _, items: items[::-1], shuffled):
        with lists(order) as seen:
            assert place.deploy("plan", "--latest-approved")["ModelPackageArn"] == crowd
        assert "ListModelPackages" in seen


def test_p3_latest_is_chosen_once_and_stays_what_was_chosen(place):
    """A version approved while the command runs is not slipped in after the first look."""
    older = place.register(factor=2)
    newer = place.register(factor=3, approve=False)

    def approving(operation, items):
        if operation == "ListModelPackages":
            place.approve(newer)
        return items

    with lists(approving):
        result = place.deploy("promote", "--latest-approved")
    assert (result["ExitCode"], result["ModelPackageArn"]) == (0, older), result
    assert place.version() == 1 and place.entries()[-1]["Deployment"]["ModelPackageArn"] == older


# P4: the same bytes


def pins(place, stage, kind):
    entries = [entry for entry in place.entries(stage) if entry["Kind"] == kind]
    return (entries[-1].get("Test") or entries[-1]["Deployment"])["Pins"]


@pytest.fixture
def versioned(place):
    def set_to(status):
        place.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": status})

    set_to("Enabled")
    yield
    set_to("Suspended")


def test_p4_prod_serves_the_bytes_that_staging_tested(place, versioned):
    arn = place.in_prod(place.register())
    (pin,) = pins(place, "staging", "Tested")
    (served,) = pins(place, "prod", "Promoted")
    copies = [one.pop("ServedUrl") for one in (pin, served)]
    assert served == pin and copies[0] == copies[1].replace("/deploy/prod/", "/deploy/staging/")
    head = place.s3.head_object(Bucket=BUCKET, Key=place.artifact_key(arn))
    assert (pin["VersionId"], pin["ETag"]) == (head["VersionId"], head["ETag"].strip('"'))
    assert pin["VersionId"] not in ("", "null") and len(pin["Sha256"]) == 64
    for stage in ("staging", "prod"):
        (variant,) = place.endpoint(stage)["ProductionVariants"]
        (image,) = variant["DeployedImages"]
        assert image["ResolvedImage"] == f"{IMAGE.partition(':')[0]}@{pin['ImageDigest']}"


def test_p4_an_artifact_overwritten_between_the_stages_is_refused(place):
    arn = place.staged(place.register(factor=2))
    place.put(place.artifact_key(arn), artifact(factor=9))
    refused(*promote(place, arn, stage="prod"), arn)


def test_p4_what_staging_tested_is_compared_even_if_the_registry_knows_no_hash(place):
    """Neither ModelSha256 nor ModelDataETag: only the test's own pins speak against it."""
    arn = place.register(factor=2)
    package = place.sm.describe_model_package(ModelPackageName=arn)
    (container,) = package["InferenceSpecification"]["Containers"]
    container.pop("ModelDataETag")
    members = {
        "InferenceSpecification": package["InferenceSpecification"],
        "CustomerMetadataProperties": None,
    }
    place.inject("DescribeModelPackage", "answer", times=None, members=members)
    place.staged(arn)
    place.put(place.artifact_key(arn), artifact(factor=9))
    refused(*promote(place, arn, stage="prod"), arn, "ETag", "the bytes have changed since")


def test_p4_the_same_bytes_written_again_are_another_version_of_the_object(place, versioned):
    arn = place.staged(place.register(factor=2))
    place.put(place.artifact_key(arn), artifact(factor=2))
    refused(*promote(place, arn, stage="prod"), arn, "VersionId")


def push(place, repository, content):
    """Give the tag 1.9 of a repository to an image with this content."""
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    config = {"digest": content, "size": 1, "mediaType": "application/json"}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [config]}
    place.cloud.client("ecr").put_image(
        repositoryName=repository, imageManifest=json.dumps(manifest), imageTag="1.9"
    )


def test_p4_an_image_tag_moved_between_the_stages_is_refused(place):
    place.cloud.client("ecr").create_repository(repositoryName=place.name)
    push(place, place.name, "sha256:" + "a" * 64)
    arn = place.staged(place.register(image=f"{OWN_IMAGE}/{place.name}:1.9"))
    push(place, place.name, "sha256:" + "b" * 64)
    refused(*promote(place, arn, stage="prod"), arn, "ImageDigest")


def test_p4_an_image_that_is_gone_is_refused(place):
    arn = place.register(image=f"{OWN_IMAGE}/{place.name}-none:1.9")
    refused(*promote(place, arn), f"{OWN_IMAGE}/{place.name}-none:1.9", "does not exist")


def test_p4_an_image_that_cannot_be_pinned_is_refused(place):
    refused(*promote(place, place.register(image="docker.io/library/python:3")), "ECR")


# P5, P38


@pytest.mark.acceptance
def test_p5_a_second_run_makes_no_call_that_changes_anything(place):
    arn = place.in_prod(place.register())
    which = (("--model-package-arn", arn), ("--latest-approved",))
    for stage, words in itertools.product(("staging", "prod"), which):
        result, calls = place.logged("promote", *words, stage=stage)
        assert (result["ExitCode"], result["Outcome"]) == (0, "Unchanged"), result
        assert "already deployed" in result["Message"] and changing(calls) == []


@pytest.mark.parametrize("retain, count", [(True, 5), (None, 1)])
def test_p38_autoscaled_counts_survive_an_update_when_asked(place, retain, count):
    place.settings("staging", RetainAllVariantProperties=retain)
    promote(place, place.register(factor=2))
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 5}]
    place.sm.update_endpoint_weights_and_capacities(
        EndpointName=f"{place.name}-staging", DesiredWeightsAndCapacities=wanted
    )
    place.settled("staging")
    result, calls = promote(place, place.register(factor=3))
    assert result["ExitCode"] == 0, result
    (variant,) = place.endpoint()["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]) == (count, count)
    (update,) = [call for call in calls if call["operation"] == "UpdateEndpoint"]
    assert update["request"].get("RetainAllVariantProperties", False) is bool(retain)


# P6: names

AWS_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
words = st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", fullmatch=True).map(lambda text: text[:63])
projects = words.map(lambda text: text.rstrip("-")) | st.text("a-", max_size=61).map("a{}a".format)
stages = st.sampled_from(["staging", "prod"])
versions = st.integers(1, 10**9)
settings = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3)
names = st.tuples(projects, stages, versions, settings)


@given(names, names)
def test_p6_names_follow_from_content_fit_and_never_collide(deploy_project, one, other):
    name = resource_name(*one)
    assert AWS_NAME.fullmatch(name) and len(name) <= 63
    assert name == resource_name(*json.loads(json.dumps(one)))
    whole = digest(list(one))
    assert name.endswith(f"-v{one[2]}-{whole[:10]}")
    assert (name == resource_name(*other)) is (one == other)


@given(st.text(min_size=1), st.text(), versions, settings)
def test_p6_no_project_or_stage_makes_a_name_that_lacks_its_hash(
    deploy_project, project, stage, version, content
):
    name = resource_name(project, stage, version, content)
    whole = digest([project, stage, version, content])
    assert len(name) <= 63 and name.endswith(f"-v{version}-{whole[:10]}")


@given(projects, projects, stages, stages)
def test_p6_endpoints_of_two_projects_never_share_a_name(deploy_project, one, other, a, b):
    def endpoint(project, stage):
        return Target(project, "", "", stage, "", "", "", "", "", None).endpoint

    assert AWS_NAME.fullmatch(endpoint(one, a)) and len(endpoint(one, a)) <= 63
    assert (endpoint(one, a) == endpoint(other, b)) is ((one, a) == (other, b))


def test_p6_long_projects_that_begin_alike_have_endpoints_of_their_own(deploy_project):
    long = "a" * 58
    found = {
        Target(f"{long}{n}", "", "", "prod", "", "", "", "", "", None).endpoint for n in range(5)
    }
    assert len(found) == 5


def test_p6_the_names_of_a_deployment_are_these(place):
    arn = place.register()
    promote(place, arn)
    config = place.live()
    model, copy = sorted(set(place.resources()) - {config, f"{place.name}-staging"})
    for name in (config, model):
        assert re.fullmatch(rf"{place.name}-staging-v1-[0-9a-f]{{10}}", name)
    assert re.fullmatch(rf"{place.name}/deploy/staging/artifacts/[0-9a-f]{{64}}/model.tar.gz", copy)
    place.settings("staging", Tags=[{"Key": "team", "Value": "x"}])
    assert place.deploy("plan", "--model-package-arn", arn)["EndpointConfigName"] == config
    place.settings("staging", KmsKeyId="alias/other")
    assert place.deploy("plan", "--model-package-arn", arn)["EndpointConfigName"] != config


# Row 32: packages


def test_row_32_a_package_that_is_not_there_or_not_ours_is_refused(place, cloud, deploy_project):
    arn = place.register()
    other = Place(cloud, deploy_project, place.environment, place.workdir)
    foreign = other.register()
    unversioned = place.sm.create_model_package(ModelPackageName=f"{place.name}-alone")
    cases = {
        arn.rpartition("/")[0] + "/99": "does not exist",
        arn.replace("us-east-1", "eu-west-1"): "eu-west-1",
        arn.replace(ACCOUNT, "999999999999"): "999999999999",
        foreign: other.group,
        unversioned["ModelPackageArn"]: "unversioned",
    }
    for named, part in cases.items():
        refused(*promote(place, named), named, part)
    for named in ("nonsense", "7", f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/x"):
        refused(*promote(place, named), named, code=2)
    empty = Place(cloud, deploy_project, place.environment, place.workdir)
    refused(*empty.logged("promote", "--latest-approved"), empty.group, "approve one first")


def test_row_32_a_group_that_is_not_there_is_refused(place):
    result, calls = place.logged(
        *("promote", "--latest-approved", "--model-package-group-name", "none-such")
    )
    refused(result, calls, "none-such", "does not exist", code=2)
