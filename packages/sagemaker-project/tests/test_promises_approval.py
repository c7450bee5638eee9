"""Who approved what, and how a command ends: P29, P30, P31 and P35."""

import contextlib
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import boto3
import pytest
from deploy_helpers import BUCKET, ROLE, Place, changing, environment, project_in, refused
from on_call_helpers import lock
from sagemaker_project import deploy

DAY = 86_400
DOCS = Path(deploy.__file__).parents[1] / "docs/deploy.md"


def promote(place, arn, *words, stage="staging"):
    return place.logged("promote", "--model-package-arn", arn, *words, stage=stage)


def promoted(place, arn, *words, stage="staging"):
    result, _ = promote(place, arn, *words, stage=stage)
    assert result["ExitCode"] == 0, result
    return arn


@contextlib.contextmanager
def as_user(place, name):
    """Make `place` act as the user of this name in this block: an access key is a name."""
    sagemaker, key = place.sm, place.environment["AWS_ACCESS_KEY_ID"]
    place.sm = place.cloud.client("sagemaker", access_key=name)
    place.environment["AWS_ACCESS_KEY_ID"] = name
    with other_credentials():
        yield
    place.sm, place.environment["AWS_ACCESS_KEY_ID"] = sagemaker, key


@contextlib.contextmanager
def other_credentials():
    """boto3 looks once in the life of a process; a command is a process, but not here."""
    boto3.DEFAULT_SESSION = None
    yield
    boto3.DEFAULT_SESSION = None


# P29: the ledger says who, when, why and what, and cannot be changed unseen


@pytest.fixture(scope="module")
def audited(cloud, deploy_project, tmp_path_factory):
    """A project with an entry of every kind in the ledger of staging."""
    audited = Place(cloud, deploy_project, environment(cloud), tmp_path_factory.mktemp("audited"))
    with as_user(audited, "alice"):
        arns = [audited.register(factor, approve=False) for factor in (2, 3)]
        arns.append(audited.register(4, approve=False, expected=5))  # fails its smoke test
        arns.append(audited.register(5, approve=False))
    with as_user(audited, "bob"):
        for arn in arns:
            audited.approve(arn, reason=f"as good as {arn[-1]} can be")
    with as_user(audited, "carol"):
        promoted(audited, arns[0])
        promoted(audited, arns[1])
        assert audited.deploy("test")["ExitCode"] == 0
        assert promote(audited, arns[2])[0]["ExitCode"] == 1
        assert audited.deploy("rollback")["ExitCode"] == 0
        promoted(audited, arns[3])
        assert len(audited.deploy("cleanup")["Deleted"]) > 0
    audited.arns = arns
    kinds = [entry["Kind"] for entry in audited.entries()]
    assert set(kinds) == {"Started", "Promoted", "RolledBack", "Failed", "Tested", "CleanedUp"}
    return audited


def keys_of(place, stage="staging"):
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{place.name}/deploy/{stage}/ledger/")
    return [item["Key"] for item in listed["Contents"]]


def bodies_of(place):
    return {
        key: place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys_of(place)
    }


@pytest.fixture
def stored(audited):
    """{key: bytes} of the ledger, which is the same again after the test."""
    before = bodies_of(audited)
    yield dict(before)
    audited.forget_head()
    for key in set(bodies_of(audited)) - set(before):
        audited.s3.delete_object(Bucket=BUCKET, Key=key)
    for key, body in before.items():
        audited.put(key, body)
    assert audited.deploy("history")["Damage"] == []


def distrusted(place, *words, part="s3://", do="Nothing was done. Restore"):
    result, calls = place.logged(*(words or ("cleanup",)))
    refused(result, calls, part, do, code=5)
    assert result["Outcome"] == "NeedsHuman"


def test_p29_the_ledger_says_who_when_why_and_what(audited):
    package = audited.sm.describe_model_package(ModelPackageName=audited.arns[1])
    entry = next(
        entry
        for entry in audited.entries()
        if entry["Kind"] == "Promoted" and entry["Deployment"]["ModelPackageVersion"] == 2
    )
    deployment = entry["Deployment"]
    assert entry["By"] == "arn:aws:sts::123456789012:user/carol"
    assert deployment["ModelPackageArn"] == audited.arns[1]
    assert deployment["Approval"] == {
        "By": "arn:aws:sts::123456789012:user/bob",
        "Time": package["LastModifiedTime"].isoformat(),
        "Reason": "as good as 2 can be",
    }
    metadata = package["CustomerMetadataProperties"]
    for name in ("GitCommit", "DataSha256", "DefinitionSha256"):
        assert deployment[name] == metadata[name]
    [pin] = deployment["Pins"]
    assert pin["Sha256"] == metadata["ModelSha256"] and pin["ImageDigest"].startswith("sha256:")
    told = audited.deploy("history")["Entries"][entry["Number"] - 1]
    assert told["ApprovedBy"].endswith("/bob") and told["By"].endswith("/carol")
    assert (told["Version"], told["GitCommit"]) == ("2", metadata["GitCommit"])


def test_p29_the_ledger_is_only_ever_appended_to(audited, stored):
    promoted(audited, audited.arns[3])  # nothing to do, nothing to say
    assert bodies_of(audited) == stored
    assert audited.deploy("test")["ExitCode"] == 0
    after = bodies_of(audited)
    assert {key: after[key] for key in stored} == stored and len(after) == len(stored) + 1


def test_p29_two_cannot_write_the_same_entry(audited, stored):
    for key, body in stored.items():
        with pytest.raises(audited.s3.exceptions.ClientError, match="PreconditionFailed"):
            audited.s3.put_object(Bucket=BUCKET, Key=key, Body=body, IfNoneMatch="*")
    _, calls = audited.logged("test")
    written = [c for c in calls if c["operation"] == "PutObject" and "/ledger/" in c["request"]]
    assert len(written) == 1


def leaves(value, path=()):
    """The path of every value in an entry that holds no other."""
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list) and value:
        for position, member in enumerate(value):
            yield from leaves(member, (*path, position))
    else:
        yield path


def changed(entry, path):
    """A copy of `entry` in which one value is another."""
    entry = json.loads(json.dumps(entry))
    place = entry
    for step in path[:-1]:
        place = place[step]
    value = place[path[-1]]
    place[path[-1]] = value + 1 if isinstance(value, int | float) else f"{value}x"
    return entry


def written(entry):
    return (json.dumps(entry, indent=1, sort_keys=True) + "\n").encode()


@pytest.mark.acceptance
def test_p29_no_member_of_an_entry_can_be_changed_unseen(audited, stored):
    from sagemaker_project.deploy.ledger_read import examine

    tried = 0
    for position, (key, body) in enumerate(stored.items()):
        entry = json.loads(body)
        assert written(entry) == body
        for path in leaves(entry):
            tampered = written(changed(entry, path))
            bodies = [tampered if k == key else b for k, b in stored.items()]
            found = examine(dict(enumerate(bodies, start=1)), None, str)
            assert [damage.number for damage in found.damage] == [position + 1]
            tried += 1
            if position == 3 and tried % 9 == 0:  # through the command as well
                audited.put(key, tampered)
                newer = path == ("Version",)
                do = "update the checkout that deploys" if newer else "Nothing was done. Restore"
                distrusted(audited, part=key, do=do)
        audited.put(key, body)
    assert tried > 200


@pytest.mark.acceptance
def test_p29_a_member_taken_away_or_added_is_seen(audited, stored):
    key, body = list(stored.items())[3]
    entry = json.loads(body)
    for name in entry:
        audited.put(key, written({k: v for k, v in entry.items() if k != name}))
        distrusted(audited, part=key)
    audited.put(key, written({**entry, "Note": "all is well"}))
    distrusted(audited, part=key)
    for other in (b"", b"{", b"[]", b"null", body[:-1], body + b" ", body.replace(b"\n", b"\r\n")):
        audited.put(key, other)
        distrusted(audited, part=key)


def test_p29_a_changed_entry_with_a_new_sha256_does_not_fit_the_next_one(audited, stored):
    from sagemaker_project.deploy.ledger import encode

    for key, body in list(stored.items())[:-1]:
        audited.put(key, encode({**json.loads(body), "By": "nobody"}))
        distrusted(audited, part="it was replaced: entry")
        audited.put(key, body)


@pytest.mark.acceptance
def test_p29_an_entry_that_was_removed_is_seen(audited, stored):
    for key, body in list(stored.items())[:-1]:
        audited.s3.delete_object(Bucket=BUCKET, Key=key)
        distrusted(audited, part=f"{key}: entry {int(key[-13:-5])}: damaged or changed by hand")
        audited.put(key, body)


def test_p29_an_entry_that_was_added_is_seen(audited, stored):
    last = list(stored)[-1]
    number = int(last[-13:-5])
    audited.put(last.replace(f"{number:08d}", f"{number + 1:08d}"), stored[last])
    distrusted(audited, part=f"it is entry {number} in the place of another one")


def test_p29_entries_that_changed_places_are_seen(audited, stored):
    first, second = list(stored)[1:3]
    audited.put(first, stored[second])
    audited.put(second, stored[first])
    distrusted(audited, part="it is entry 3 in the place of another one (and so are entries 3)")


def test_p29_every_change_reads_the_whole_ledger_first(audited, stored):
    key = next(iter(stored))
    audited.put(key, stored[key].replace(b"carol", b"mallo"))
    for words in (
        ("promote", "--model-package-arn", audited.arns[3], "--retry", "--accept-drift"),
        ("plan", "--latest-approved"),
        *(("rollback",), ("test",), ("cleanup",)),
    ):
        distrusted(audited, *words, part=key)


@pytest.mark.acceptance
def test_p29_the_end_cut_off_is_seen_by_the_tag_or_by_what_serves(place):
    """A ledger that ends earlier is whole in itself, but then it does not say what serves."""
    for factor in (2, 3):
        promoted(place, place.register(factor=factor))
    for key in keys_of(place)[-2:]:
        place.s3.delete_object(Bucket=BUCKET, Key=key)
    assert [one["Entry"] for one in place.deploy("history")["Damage"]] == [3]
    arn = place.register(factor=4)
    refused(*promote(place, arn), "it is missing, and so are those after it up to 4", code=5)
    place.forget_head()
    assert place.deploy("history")["Damage"] == []
    refused(*promote(place, arn), "was changed outside deploy-model")
    assert place.deploy("status")["Drift"] != []


# P30: four eyes


def four_eyes(place):
    place.settings("prod", DeploymentConfig=None, Approval={"RequireTwoPeople": True})
    place.settings("staging", Approval={"RequireTwoPeople": False})


@pytest.mark.parametrize("born", [pytest.param(True, marks=pytest.mark.acceptance), False])
def test_p30_who_made_a_version_cannot_approve_it_for_prod(place, born):
    """Approved by its author, at its birth or later: good enough for staging."""
    four_eyes(place)
    with as_user(place, "alice"):
        members = {"ModelApprovalStatus": "Approved"} if born else {}
        arn = place.register(approve=not born, **members)
    with as_user(place, "carol"):  # the caller of promote is neither of them
        place.staged(arn)
        result, calls = promote(place, arn, stage="prod")
        refused(result, calls, "user/alice made it and approved it", "Approval.RequireTwoPeople")
        refused(*place.logged("plan", "--latest-approved", stage="prod"), "user/alice made it")
        assert place.live("prod") is None
        with as_user(place, "bob"):
            place.approve(arn, "Rejected")
            place.approve(arn)
        promoted(place, arn, stage="prod")


@pytest.mark.acceptance
def test_p30_who_approved_may_promote(place):
    four_eyes(place)
    with as_user(place, "alice"):
        arn = place.register(approve=False)
    with as_user(place, "bob"):
        place.approve(arn)
        place.in_prod(arn)


def test_p30_the_pipeline_makes_and_a_person_approves(place):
    four_eyes(place)
    arn = place.staged(place.register())
    role = {"IamIdentity": {"Arn": "arn:aws:sts::123456789012:assumed-role/pipeline/SageMaker"}}
    place.inject("DescribeModelPackage", "answer", times=None, members={"CreatedBy": role})
    promoted(place, arn, stage="prod")


SSO = "AWSReservedSSO_DataScientist_0123456789abcdef"
TWO = [  # who made it, who approved it, whether these are two
    ("assumed-role/build/run-1", "assumed-role/build/run-2", False),
    ("assumed-role/build/run-1", "assumed-role/release/run-1", True),
    (f"assumed-role/{SSO}/ann", f"assumed-role/{SSO}/bob", True),
    (f"assumed-role/{SSO}/ann", f"assumed-role/{SSO}/ann", False),
    ("assumed-role/AWSReservedSSO_x/ann", "assumed-role/AWSReservedSSO_x/bob", False),
]


def test_p30_a_role_is_one_person_whatever_its_sessions_are_named(place):
    """Who takes on a role names the session; IAM Identity Center names it after the user."""
    four_eyes(place)
    arn = place.staged(place.register())
    for author, approver, two in TWO:
        by = [f"arn:aws:sts::123456789012:{name}" for name in (author, approver)]
        made, approved = ({"IamIdentity": {"Arn": arn}} for arn in by)
        members = {"CreatedBy": made, "LastModifiedBy": approved}
        place.inject("DescribeModelPackage", "answer", times=None, members=members)
        result = place.deploy("plan", "--model-package-arn", arn, stage="prod")
        place.clear_faults()
        assert result["ExitCode"] == (0 if two else 3), (author, approver, result)
        if author != approver and not two:
            assert f"{by[0]} made it and {by[1]} approved it" in result["Message"]


def test_p30_an_approval_by_an_unknown_person_does_not_count(place):
    four_eyes(place)
    arn = place.staged(place.register())
    for by in (None, {}, {"IamIdentity": {}}, {"DomainId": "d-1"}):
        members = {"LastModifiedBy": by, "CreatedBy": {"UserProfileName": "alice"}}
        place.inject("DescribeModelPackage", "answer", times=None, members=members)
        refused(*promote(place, arn, stage="prod"), "Approval.RequireTwoPeople")
        place.clear_faults()


# P31: approvals and plans that are not of now


def approved_before(place, seconds, **members):
    """The approval is so old; the rest of the package is as it is."""
    times = {"LastModifiedTime": time.time() - seconds, **members}
    place.inject("DescribeModelPackage", "answer", times=None, members=times)


@pytest.mark.parametrize("days", [pytest.param(None, marks=pytest.mark.acceptance), 7])
def test_p31_an_approval_expires(place, days):
    if days:
        place.settings("staging", Approval={"MaxAgeDays": days})
    arn = place.register()
    approved_before(place, (days or 30) * DAY + 60)
    refused(
        *promote(place, arn), f"the {days or 30} days of Approval.MaxAgeDays", "approve it anew"
    )
    place.clear_faults()
    approved_before(place, 400 * DAY, LastModifiedTime=None, CreationTime=time.time() - 400 * DAY)
    refused(*promote(place, arn), "Approval.MaxAgeDays")  # approved at its birth, long ago
    place.clear_faults()
    approved_before(place, (days or 30) * DAY - 60)
    promoted(place, arn)


@pytest.mark.acceptance
def test_p31_an_approval_is_not_used_again_after_a_failure(place):
    promoted(place, place.register(factor=2))
    bad = place.register(factor=3, expected=4)
    assert promote(place, bad)[0]["ExitCode"] == 1
    for _ in range(2):
        anew = (
            f"approve it anew, for another reason than before (deploy-model approve {bad} --reason"
        )
        refused(*promote(place, bad), "version 2 failed here", anew, "--retry")
    assert promote(place, bad, "--retry")[0]["ExitCode"] == 1  # it is as bad as before
    place.approve(bad, "Rejected")
    place.approve(bad)
    result, calls = promote(place, bad)
    assert result["ExitCode"] == 1 and changing(calls), "a new approval is a new chance"
    assert place.answer("1") == [2.0]


@pytest.mark.acceptance
def test_p31_an_approval_is_not_used_again_after_a_rollback(place):
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, first)
    promoted(place, second)
    assert place.deploy("rollback")["ExitCode"] == 0
    refused(*promote(place, second), "version 2 was rolled back", "--retry")
    refused(*place.logged("promote", "--latest-approved"), "was rolled back")
    promoted(place, second, "--retry")
    assert place.deploy("rollback")["ExitCode"] == 0
    place.approve(second, "Rejected")
    place.approve(second)
    promoted(place, second)
    assert place.answer("1") == [3.0]


@pytest.mark.acceptance
def test_p31_an_older_version_is_refused_without_retry(place):
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, second)
    older = "version 1 is older than version 2, which serves: deploy it all the same"
    refused(*promote(place, first), older, f"--model-package-arn {first} --retry")
    refused(*promote(place, first, "--accept-drift"), older)
    promoted(place, first, "--retry")
    assert place.answer("1") == [2.0]
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [3.0]


def planned(place, arn):
    result, calls = place.logged("plan", "--model-package-arn", arn)
    assert result["Outcome"] == "Planned" and changing(calls) == [], result
    return result["PlanToken"]


@pytest.mark.acceptance
def test_p31_a_plan_is_done_only_as_it_was_planned(place):
    first, second, third = (place.register(factor=factor) for factor in (2, 3, 4))
    other = "look at deploy-model plan"

    token = planned(place, first)
    for wrong in ("", "0" * 32, token[:-1], token.upper() + "0", planned(place, second)):
        refused(*promote(place, first, f"--plan-token={wrong or '-'}"), other)
    place.settings("staging", EnableNetworkIsolation=True)  # other settings
    refused(*promote(place, first, "--plan-token", token), other)
    place.settings("staging", EnableNetworkIsolation=None)
    promoted(place, first, "--plan-token", token)

    token = planned(place, third)
    promoted(place, second)  # another version serves meanwhile
    refused(*promote(place, third, "--plan-token", token), other)
    token = planned(place, third)
    assert place.deploy("test")["ExitCode"] == 0  # the ledger has gone on
    refused(*promote(place, third, "--plan-token", token), other)
    promoted(place, third, "--plan-token", planned(place, third))
    # Done already: there is nothing that could be done otherwise.
    assert promote(place, third, "--plan-token", token)[0]["Outcome"] == "Unchanged"


def test_p31_a_plan_that_changes_before_the_lock_is_held_is_not_done(place, monkeypatch):
    """Another command registers the autoscaling before this one has the lock."""
    from sagemaker_project.deploy import commands

    rule = {"MinCapacity": 1, "MaxCapacity": 3, "TargetValue": 100}
    variant = {"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    place.settings("staging", ProductionVariants=[{**variant, "AutoScaling": rule}])
    promoted(place, place.register(factor=2))
    second = place.register(factor=3)
    scalable = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{place.name}-staging/variant/All",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling = place.cloud.client("application-autoscaling")

    class Late(commands.Lock):
        def __enter__(self):
            scaling.deregister_scalable_target(**scalable)
            return super().__enter__()

    token = planned(place, second)
    monkeypatch.setattr(commands, "Lock", Late)
    result, calls = promote(place, second, "--plan-token", token)
    assert result["ExitCode"] == 3 and "--plan-token" in result["Message"], result
    assert [c for c in changing(calls) if c["service"] == "sagemaker"] == []
    assert place.version() == 1


# P35: exit codes and results


TEST = ["test", "--stage", "staging", "--export-test-results"]
USAGE = {
    "no stage": (["history"], "--stage"),
    "unknown stage": (["status", "--stage", "production"], "production"),
    "unknown flag": (["status", "--stage", "staging", "--jsonn"], "--jsonn"),
    "a flag cut short": (["status", "--stag", "staging"], "--stag"),
    "a word too many": (["status", "--stage", "staging", "now"], "now"),
    "unknown command": (["deploy", "--stage", "staging"], "deploy"),
    "no command": ([], "COMMAND"),
    "no version": (["promote", "--stage", "staging"], "--latest-approved"),
    "two versions": (
        ["promote", "--stage", "staging", "--latest-approved", "--model-package-arn", "x"],
        "not allowed with",
    ),
    "a flag of another command": (["rollback", "--stage", "prod", "--retry"], "--retry"),
    "no number": (["status", "--stage", "staging", "--timeout", "soon"], "soon"),
    "no time": (["status", "--stage", "staging", "--timeout", "0"], "--timeout"),
    "no file for the report": ([*TEST, "/"], "'/' is a folder"),
    "no folder for the report": ([*TEST, "/dev/null/a/report.json"], "/dev/null is not a folder"),
    "a report over the other": ([*TEST, "report.html"], "report.html is the HTML report's"),
}
SETTINGS = {
    "role name": (["--model-execution-role", "MyRole"], "--model-execution-role"),
    "role of another account": (
        ["--model-execution-role", ROLE.replace("123456789012", "210987654321")],
        "logged in as arn:aws:sts::123456789012:user/local, the project expects account 2109876",
    ),
    "region": (
        ["--region", "us-est-1"],
        "--region (or AWS_REGION): 'us-est-1' has no SageMaker. Did",
    ),
    "region of nowhere": (["--region", "x"], "'x' has no SageMaker. One looks like us-east-1"),
    "group": (["--model-package-group-name", "a_b"], "--model-package-group-name"),
    "project": (["--sagemaker-project-name", "a_b"], "--sagemaker-project-name"),
    "bucket": (["--s3-bucket", "My_Bucket"], "--s3-bucket"),
    "no ARN": (["--model-package-arn", "7"], "is not the ARN of a model package"),
}


def run(words, folder=Path("nowhere")):
    """(exit code, standard output, standard error) of deploy-model."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = deploy.main(project_in(folder), words)
        except SystemExit as end:
            code = end.code
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_p35_a_reader_that_leaves_does_not_stop_a_command(place, monkeypatch, stream):
    """As `deploy-model history | head -1` does, and `deploy-model promote 2>&1 | head -1`."""
    arn = place.register()
    words = ("history",) if stream == "stdout" else ("promote", "--model-package-arn", arn)
    reading, writing = os.pipe()
    os.close(reading)
    other = io.StringIO()
    with contextlib.suppress(BrokenPipeError), open(writing, "w") as gone, place.entered():
        monkeypatch.setattr(sys, "stderr", other)
        monkeypatch.setattr(sys, "stdout", other)
        monkeypatch.setattr(sys, stream, gone)
        code = place.main(place.arguments(*words))
    assert code == 0
    assert "Traceback" not in other.getvalue()
    assert place.version() == (1 if stream == "stderr" else None)


@pytest.mark.parametrize("case", USAGE)
def test_p35_a_mistake_in_the_words_is_a_2_also_in_json(deploy_project, case):
    words, named = USAGE[case]
    code, out, err = run([*words, "--json"])
    result = json.loads(out)  # once: anything else on standard output is no JSON
    assert (code, result["ExitCode"], result["Outcome"]) == (2, 2, "Invalid")
    assert named in result["Message"] and named in err
    assert re.fullmatch(r"deploy-model.*; see deploy-model.* --help\n", err), err
    code, out, err = run(words)
    assert (code, out) == (2, "") and named in err


@pytest.mark.parametrize("case", SETTINGS)
def test_p35_a_mistake_in_a_value_is_a_2(place, case):
    words, named = SETTINGS[case]
    which = [] if case == "no ARN" else ["--latest-approved"]
    result, calls = place.logged("promote", *which, *words)
    refused(result, calls, named, code=2)
    assert result["Outcome"] == "Invalid"


def test_p35_settings_and_credentials_that_cannot_be_used_are_a_2(place, monkeypatch):
    place.settings("staging", AccountId="210987654321")
    refused(*place.logged("status"), "logged in as", "expects account 210987654321", code=2)
    place.settings("staging", AccountId=None, Produktionsvarianten=[])
    refused(*place.logged("test"), "Did you mean ProductionVariants?", code=2)
    place.settings("staging", Produktionsvarianten=None)
    kept = dict(place.environment)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
        del place.environment[name]
    with other_credentials():
        refused(*place.logged("status"), "AWS credentials", code=2)
    place.environment.update(kept)
    for code in ("ExpiredToken", "InvalidClientTokenId"):
        place.inject(
            "GetCallerIdentity", "error", service="sts", code=code, message="no", status=403
        )
        refused(*place.logged("status"), code, "log in again", code=2)
        place.clear_faults()


def test_p35_every_command_ends_as_the_table_says(place):
    """The life of a stage: what is done, what comes of it."""
    ended = []

    def end(*words, stage="staging"):
        result = place.deploy(*words, stage=stage)
        ended.append((words[0], result["ExitCode"], result["Outcome"]))
        assert {"Command", "Stage", "Message"} <= set(result)
        assert result["Message"] and "\n" not in result["Message"]
        assert (result["Command"], result["Stage"]) == (words[0], stage)
        return result

    end("promote", "--latest-approved")  # nothing is registered
    first, second = place.register(factor=2), place.register(factor=3)
    bad = place.register(factor=4, expected=5)
    pending = place.register(factor=6, approve=False)
    for command in ("status", "test", "rollback", "cleanup", "history"):
        end(command)
    end("plan", "--model-package-arn", first)
    end("promote", "--model-package-arn", first)
    end("promote", "--model-package-arn", first)
    end("plan", "--model-package-arn", first)
    end("promote", "--model-package-arn", pending)
    end("promote", "--model-package-arn", bad)
    end("promote", "--model-package-arn", second)
    end("status")
    end("test")
    samples = place.artifact_key(second).replace("model.tar.gz", "evaluation/samples.json")
    before = place.s3.get_object(Bucket=BUCKET, Key=samples)["Body"].read()
    for content in ({"samples": [], "malformed": []}, json.loads(before.replace(b"3", b"7"))):
        place.put(samples, json.dumps(content))
        end("test")
    end("promote", "--model-package-arn", first, stage="prod")
    end("rollback")
    end("rollback")
    end("cleanup")
    lock(place)
    assert (
        "promote version 9 is in progress by ann on elsewhere since 2026-01-02T03"
        in (end("promote", "--model-package-arn", second, "--retry")["Message"])
    )
    lock(place, Pid="x")
    end("rollback")
    place.s3.delete_object(Bucket=BUCKET, Key=f"{place.name}/deploy/staging/lock.json")
    place.inject("DescribeEndpoint", "throttle", times=None)
    end("status", "--timeout", "0.5")
    place.clear_faults()
    place.inject("DescribeEndpoint", "denied", times=None)
    end("status")
    place.clear_faults()
    place.inject("DescribeEndpoint", "answer", members={"EndpointStatus": "Failed"})
    end("promote", "--model-package-arn", second, "--retry")
    place.put(keys_of(place)[0], b"{}")
    end("history")
    end("cleanup")
    end("ledger", "accept", "1", "--reason", "lost")
    end("ledger", "accept", "1", "--reason", "lost")
    assert ended == [
        ("promote", 3, "Refused"),
        ("status", 0, "Absent"),
        ("test", 3, "Refused"),
        ("rollback", 3, "Refused"),
        ("cleanup", 0, "CleanedUp"),
        ("history", 0, "Read"),
        ("plan", 0, "Planned"),
        ("promote", 0, "Promoted"),
        ("promote", 0, "Unchanged"),
        ("plan", 0, "Unchanged"),
        ("promote", 3, "Refused"),
        ("promote", 1, "Failed"),
        ("promote", 0, "Promoted"),
        ("status", 0, "InService"),
        ("test", 0, "Passed"),
        ("test", 3, "Inconclusive"),
        ("test", 1, "Failed"),
        ("promote", 3, "Refused"),
        ("rollback", 0, "RolledBack"),
        ("rollback", 0, "Unchanged"),
        ("cleanup", 0, "CleanedUp"),
        ("promote", 4, "Busy"),
        ("rollback", 5, "NeedsHuman"),
        ("status", 4, "Unknown"),
        ("status", 4, "Unknown"),
        ("promote", 5, "NeedsHuman"),
        ("history", 0, "Read"),
        ("cleanup", 5, "NeedsHuman"),
        ("ledger", 0, "SetAside"),
        ("ledger", 0, "Unchanged"),
    ]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_p35_interrupted(place, monkeypatch, number, code):
    from sagemaker_project.deploy import commands

    def status(session):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setitem(commands.COMMANDS, "status", status)
    result = place.deploy("status")
    assert (result["ExitCode"], result["Outcome"]) == (code, "Interrupted")
    assert "run the same command again to go on" in result["Message"]


def test_p35_a_mistake_of_ours_has_a_result_too(place, monkeypatch):
    """A bug ends with a traceback on standard error, a result and a code that fits."""
    from sagemaker_project.deploy import commands

    monkeypatch.setitem(commands.COMMANDS, "status", lambda context: {}["no such key"])
    result = place.deploy("status")
    assert (result["ExitCode"], result["Outcome"]) == (5, "NeedsHuman"), result
    assert "KeyError('no such key')" in result["Message"]
    assert "Traceback" in result["stderr"]


def test_p35_people_read_what_programs_read(place):
    """Without --json: what came of it on standard output, why nothing did on standard error."""
    promoted(place, place.register(factor=2))
    for words, code, stream in (
        (("status",), 0, "out"),
        (("history",), 0, "out"),
        (("rollback",), 3, "err"),
        (("promote", "--model-package-arn", "7"), 2, "err"),
    ):
        arguments = [word for word in place.arguments(*words) if word != "--json"]
        with place.entered():
            ended, out, err = run(arguments, place.project)
        assert ended == code
        said = {"out": out, "err": err}
        assert said[stream].strip() and "{" not in out
        if stream == "err":
            assert out == "" and err.startswith("deploy-model: ")


def test_p35_help_and_documentation_have_the_same_table(deploy_project):
    """The codes and what each means, word for word but for the markup."""
    from sagemaker_project.deploy.arguments import COMMANDS, EXIT_CODES
    from sagemaker_project.deploy.deploy_model import OUTCOMES

    helped = dict(re.findall(r"^  (\d+) +(.+)$", EXIT_CODES, re.M))
    assert set(helped) == {"0", "1", "2", "3", "4", "5", "130"} and "143" in helped["130"]
    assert set(OUTCOMES) == {1, 2, 3, 4, 5}
    table = DOCS.read_text().partition("| Exit code | Meaning |")[2].partition("\n\n")[0]
    documented = dict(re.findall(r"^\| ([\d, ]+) \| (.+) \|$", table, re.M))
    assert set(documented) == {"0", "1", "2", "3", "4", "5", "130, 143"}
    for code in "12345":
        assert documented[code] == helped[code]
    assert documented["0"].startswith(helped["0"])
    for words in ([], *([command] for command in COMMANDS)):
        code, out, _ = run([*words, "--help"])
        assert code == 0 and EXIT_CODES.strip() in out
