"""A ledger that was damaged: what is seen, who goes on, and how an entry is set aside; P29 and P34.

Who deletes or changes objects of the ledger need not be able to change the endpoint's tags.
"""

import contextlib
import io
import json
import re

import pytest
from boundary_helpers import kill, run
from deploy_helpers import BUCKET, Place, changing, environment, refused, some
from sagemaker_project.deploy.ledger import HEAD_TAG, encode

WRITERS = (("plan", "--latest-approved"), ("promote", "--latest-approved"), ("test",))
WRITERS += (("rollback",), ("cleanup",))


def key_of(place, number):
    return f"{place.name}/deploy/staging/ledger/{number:08d}.json"


def body_of(place, number):
    return place.s3.get_object(Bucket=BUCKET, Key=key_of(place, number))["Body"].read()


def numbers_of(place):
    """Of the objects of the ledger, damaged ones as well."""
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix=key_of(place, 0).rpartition("/")[0])
    return [int(item["Key"][-13:-5]) for item in listed["Contents"]]


def delete(place, number):
    place.s3.delete_object(Bucket=BUCKET, Key=key_of(place, number))


def tag_of(place):
    arn = place.endpoint()["EndpointArn"]
    tags = {tag["Key"]: tag["Value"] for tag in place.sm.list_tags(ResourceArn=arn)["Tags"]}
    return tags.get(HEAD_TAG)


def head_of(place):
    """What the tag says where it names the last entry."""
    number = numbers_of(place)[-1]
    return f"{number}:{json.loads(body_of(place, number))['Sha256']}"


def done(place, *words, stage="staging"):
    result = place.deploy(*words, stage=stage)
    assert result["ExitCode"] == 0 or words == ("status",), result
    return result


@pytest.fixture(scope="module")
def tested(cloud, deploy_project, tmp_path_factory):
    """Two versions were promoted to staging, and the second one tested: five entries."""
    folder = tmp_path_factory.mktemp("tested")
    place = Place(cloud, deploy_project, environment(cloud), folder)
    for factor in (2, 3):
        done(place, "promote", "--model-package-arn", place.register(factor=factor))
    done(place, "test")
    assert numbers_of(place) == [1, 2, 3, 4, 5]
    place.register(factor=4)
    return place


@pytest.fixture
def stored(tested):
    """{number: bytes} of the ledger, which is the same again after the test, its tag too."""
    before = {number: body_of(tested, number) for number in numbers_of(tested)}
    value = tag_of(tested)
    yield before
    listed = tested.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{tested.name}/deploy/staging/ledger")
    for item in listed["Contents"]:
        tested.s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    for number, body in before.items():
        tested.put(key_of(tested, number), body)
    arn = tested.endpoint()["EndpointArn"]
    tested.sm.add_tags(ResourceArn=arn, Tags=[{"Key": HEAD_TAG, "Value": value}])
    assert done(tested, "history")["Damage"] == []


def changed(body):
    return body.replace(b"looks good", b"looks fine").replace(b"Passed", b"passed")


def rewritten(body):
    """As who knows the format changes an entry."""
    return encode(json.loads(body) | {"By": "somebody else"})


DAMAGES = {
    "changed": (changed, 3, "its Sha256 does not match its content"),
    "the last one changed": (changed, 5, "its Sha256 does not match its content"),
    "truncated": (lambda body: body[:-40], 3, "it is not JSON"),
    "empty": (lambda body: b"", 5, "it is not JSON"),
    "no text": (lambda body: b"\xff\xfe", 3, "it is not JSON"),
    "a list": (lambda body: b"[1]", 3, "it is not a ledger entry"),
    "nested too deeply": (lambda body: b"[" * 100_000, 3, "it is nested too deeply"),
    "written anew": (rewritten, 3, "entry 4 names another one"),
    "the last one written anew": (rewritten, 5, "the tag of the endpoint names another one"),
    "removed": (lambda body: None, 3, "it is missing"),
    "the first one removed": (lambda body: None, 1, "it is missing"),
    "the last one removed": (lambda body: None, 5, "it is missing"),
}


def damage(place, number, body):
    delete(place, number) if body is None else place.put(key_of(place, number), body)


@pytest.mark.parametrize(
    "change, number, why", some(DAMAGES, "changed", "removed", "the last one removed")
)
def test_p34_a_damaged_entry_stops_changes_until_it_is_set_aside(
    tested, stored, change, number, why
):
    place, body = tested, change(stored[number])
    damage(place, number, body)
    address = f"s3://{BUCKET}/{key_of(place, number)}"
    for command in ("status", "history"):
        result = done(place, command)
        assert [one["Entry"] for one in result["Damage"]] == [number]
        assert why in result["Damage"][0]["Why"] and result["Damage"][0]["Key"] in address
        shown_in = result["stderr"] if command == "history" else result["Message"]
        assert key_of(place, number) in shown_in
        if command == "status":  # whose first line is the verdict
            assert result["stderr"] == "" and why in result["Message"]
            assert result["Recovery"].startswith("Restore the object")
    told = [row["Number"] for row in result["Entries"]]
    assert told == [other for other in stored if other != number]
    for words in WRITERS:
        result, calls = place.logged(*words)
        refused(result, calls, address, why, "Nothing was done. Restore", code=5)
        command = f"deploy-model ledger accept {number} --stage staging --reason TEXT"
        assert command in result["Message"]
    accepted = done(place, "ledger", "accept", number, "--reason", " a restore failed ")
    assert accepted["Outcome"] == "SetAside"
    last = json.loads(body_of(place, 6))
    assert (last["Number"], last["Kind"], last["Entry"]) == (6, "SetAside", number)
    assert last["Reason"] == "a restore failed" and last["By"].startswith("arn:aws:sts::")
    assert tag_of(place) == head_of(place)
    if body is not None:
        assert body_of(place, number) == body, "it stays as evidence"
    history = done(place, "history")
    assert (history["Damage"], history["stderr"]) == ([], "")
    assert history["SetAside"] == [{"Entry": number, "SetAsideBy": 6}]
    done(place, "cleanup")
    damage(place, number, b"something else")
    result, calls = place.logged("rollback")
    refused(result, calls, address, "it was changed after it had been set aside", code=5)


def test_p34_what_was_set_aside_does_not_count_and_the_rest_does(tested, stored):
    """The end of the second promotion is lost: it is found in service, and recorded again."""
    place = tested
    arn = json.loads(stored[4])["Deployment"]["ModelPackageArn"]
    delete(place, 4)
    done(place, "ledger", "accept", "4", "--reason", "lost")
    status = done(place, "status")
    assert status["Current"]["ModelPackageVersion"] == 1 and status["Pending"]
    done(place, "promote", "--model-package-arn", arn)
    assert [entry["Kind"] for entry in place.entries()][-2:] == ["SetAside", "Promoted"]
    assert done(place, "status")["Current"]["ModelPackageVersion"] == 2


@pytest.mark.acceptance
def test_p34_several_are_set_aside_at_once_and_a_damaged_acceptance_is_damage_too(tested, stored):
    place = tested
    place.put(key_of(place, 2), b"?")
    delete(place, 4)
    delete(place, 5)
    status = done(place, "status")
    assert [one["Entry"] for one in status["Damage"]] == [2, 4]
    assert "and so are those after it up to 5" in status["Damage"][1]["Why"]
    result, calls = place.logged("cleanup")
    refused(result, calls, "entry 2", "and so are entries 4", "ledger accept 2 4 --stage", code=5)
    done(place, "ledger", "accept", "2", "4", "--reason", "lost")
    assert done(place, "status")["Damage"] == []
    last = body_of(place, 8)
    assert (json.loads(last)["Kind"], json.loads(last)["Entry"]) == ("SetAside", 5)
    place.put(key_of(place, 6), b"?")  # that of entry 2, which is damage again
    assert [one["Entry"] for one in done(place, "status")["Damage"]] == [2, 6]
    done(place, "ledger", "accept", "2", "6", "--reason", "lost again")
    assert done(place, "plan", "--latest-approved")["Outcome"] == "Planned"


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("accept", "3", "--reason", "x"), 3, "entry 3 is intact"),
        (("accept", "6", "--reason", "x"), 3, "there is no entry 6: the last one is 5"),
        (("accept", "2", "3", "--reason", "x"), 3, "entry 3 is intact"),
        (("accept", "2", "--reason", "  "), 2, "must be one line"),
        (("accept", "2"), 2, "--reason"),
        (("accept", "zero", "--reason", "x"), 2, "is not a number from 1"),
    ],
)
def test_p34_only_a_damaged_entry_is_set_aside_and_with_a_reason(
    tested, stored, words, code, message
):
    tested.put(key_of(tested, 2), b"?")
    refused(*tested.logged("ledger", *words), message, code=code)
    if code == 3:
        done(tested, "ledger", "accept", "2", "--reason", "x")
        again = done(tested, "ledger", "accept", "2", "--reason", "x")
        assert again["Outcome"] == "Unchanged" and numbers_of(tested)[-1] == 6


FOREIGN = ("", ".DS_Store", "00000003.json~", "00000000.json", "old/00000001.json", "00000099.json")


def test_p34_what_is_no_entry_is_told_once_and_stops_no_command(tested, stored):
    for name in FOREIGN:
        tested.put(f"{tested.name}/deploy/staging/ledger/{name}", b"")
    for words in (("status",), ("history",), ("plan", "--latest-approved"), ("cleanup",)):
        result = done(tested, *words)
        (line,) = [line for line in result["stderr"].splitlines() if "no ledger entry" in line]
        assert all(name in line for name in FOREIGN) and "its folder marker" in line
    result = done(tested, "promote", "--latest-approved")  # which looks twice
    assert result["stderr"].count("no ledger entry") == 1
    done(tested, "rollback")
    done(tested, "test")


@pytest.mark.acceptance
def test_p29_a_failed_test_that_was_deleted_is_missed(place):
    """Prod reads the test of staging, of which only the endpoint's tag still tells."""
    place.settings("prod", DeploymentConfig=None)
    arn = place.staged(place.register())
    key = place.artifact_key(arn).replace("model.tar.gz", "evaluation/samples.json")
    body = place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    place.put(key, body.replace(b"[2]", b"[7]"))
    assert place.deploy("test")["ExitCode"] == 1
    place.put(key, body)
    number = numbers_of(place)[-1]
    delete(place, number)
    for command in ("status", "history"):
        assert [one["Entry"] for one in done(place, command)["Damage"]] == [number]
    words = ("promote", "--model-package-arn", arn)
    result, calls = place.logged(*words, stage="prod")
    accept = f"deploy-model ledger accept {number} --stage staging"
    refused(result, calls, f"entry {number}: damaged", "it is missing", accept, code=5)
    done(place, "ledger", "accept", number, "--reason", "deleted by mistake")
    refused(*place.logged(*words, stage="prod"), "was not tested in staging")
    done(place, "test")
    done(place, *words, stage="prod")


def test_p29_the_endpoint_is_tagged_with_each_entry_once_it_exists(place):
    arn = place.register()
    result, calls = place.logged("promote", "--model-package-arn", arn)
    made = [call["operation"] for call in changing(calls)]
    assert made.index("AddTags") > made.index("CreateEndpoint") and made.count("AddTags") == 1
    assert tag_of(place) == head_of(place)
    done(place, "test")
    assert tag_of(place) == head_of(place)
    _, calls = place.logged("promote", "--model-package-arn", place.register(factor=3))
    assert [call["operation"] for call in calls].count("AddTags") == 2
    assert tag_of(place) == head_of(place)
    ended = run(place, ("test",), at="AddTags", act=kill)
    assert ended.signal and tag_of(place) != head_of(place)
    assert done(place, "status")["Damage"] == []
    done(place, "rollback")
    assert tag_of(place) == head_of(place)
    place.sm.delete_endpoint(EndpointName=f"{place.name}-staging")
    while place.live():
        pass
    delete(place, numbers_of(place)[-1])
    assert done(place, "status")["Damage"] == []  # without an endpoint there is no tag


@pytest.mark.parametrize("operation", ["ListTags", "AddTags"])
def test_p29_tags_that_are_denied_are_an_error(tested, stored, operation):
    tested.inject(operation, "denied", times=None)
    try:
        result = tested.deploy("test")
    finally:
        tested.clear_faults()
    assert result["ExitCode"] == 5, result
    assert f"may not sagemaker:{operation}" in result["Message"]
    assert tested.name in result["Message"]


def test_p28_an_endpoint_of_somebody_else_is_not_taken_over(place):
    """Not with --accept-drift either, until its owner gives it this project's tags."""
    first, second = place.register(factor=2), place.register(factor=3)
    done(place, "promote", "--model-package-arn", first)
    name, live = f"{place.name}-staging", place.live()
    config = place.sm.describe_endpoint_config(EndpointConfigName=live)
    place.sm.delete_endpoint(EndpointName=name)
    while place.live():
        pass
    other = f"{place.name}-by-hand"
    variants = config["ProductionVariants"]
    place.sm.create_endpoint_config(EndpointConfigName=other, ProductionVariants=variants)
    place.sm.create_endpoint(EndpointName=name, EndpointConfigName=other)
    place.settled()
    promote = ("promote", "--model-package-arn", second, "--accept-drift")
    for words in (promote, ("rollback", "--accept-drift")):
        told = f"was not made by deploy-model: the ledger does not know {other}"
        result, calls = place.logged(*words)
        refused(result, calls, told, "aws sagemaker add-tags")
    tags = re.search(r"--tags (.*), then run", result["Message"])[1].split()
    pairs = [re.fullmatch(r"Key=(.*),Value=(.*)", tag).groups() for tag in tags]
    arn = place.endpoint()["EndpointArn"]
    assert f"--resource-arn {arn} " in result["Message"]
    place.sm.add_tags(ResourceArn=arn, Tags=[{"Key": k, "Value": v} for k, v in pairs])
    assert place.deploy(*promote[:-1])["ExitCode"] == 3  # it is drift now
    done(place, *promote)
    assert place.version() == 2


# What people read


def printed(place, *words):
    arguments = [word for word in place.arguments(*words) if word != "--json"]
    out, err = io.StringIO(), io.StringIO()
    with place.entered(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert place.main(arguments) == 0, err.getvalue()
    return out.getvalue()


def test_p29_the_history_fits_sixty_columns_and_cuts_no_name(tested, stored):
    rows = done(tested, "history")["Entries"]
    assert all(row["ModelPackageArn"].startswith("arn:aws:sagemaker:") for row in rows)
    lines = printed(tested, "history").splitlines()
    assert max(map(len, lines)) <= 60
    starts = [n for n, line in enumerate(lines) if re.match(r" +\d+  20\d\d-", line)]
    assert [int(lines[n].split()[0]) for n in starts] == [5, 4, 3, 2, 1]
    assert starts == [0, 2, 4, 6, 8] and len(lines) == 11
    for row, n in zip(reversed(rows), starts, strict=True):
        assert row["Kind"] in lines[n] and row["EndpointConfigName"] in lines[n + 1]
    few = printed(tested, "history", "--last", "2").splitlines()
    assert few[:-1] == lines[:4]
    assert [row["Number"] for row in done(tested, "history", "--last", "2")["Entries"]] == [4, 5]
    assert tested.deploy("history", "--last", "0")["ExitCode"] == 2


def test_p29_the_history_names_damage_where_it_stands(tested, stored):
    tested.put(key_of(tested, 3), b"?")
    lines = printed(tested, "history").splitlines()
    (at,) = [n for n, line in enumerate(lines) if "DAMAGED" in line]
    assert lines[at].split() == ["3", "DAMAGED"] and "not JSON" in lines[at + 1]
    assert lines[at - 2].split()[0] == "4" and lines[at + 2].split()[0] == "2"
    assert lines[-1] == "4 intact entries; damaged: 3"
    done(tested, "ledger", "accept", "3", "--reason", "x")
    lines = printed(tested, "history").splitlines()
    assert ["3", "set", "aside"] in [line.split() for line in lines]
    assert lines[-1] == "5 intact entries; set aside: 3"
