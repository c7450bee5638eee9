"""`deploy-model approve` and `reject`: a person's word, and P30's rule of two people."""

import pytest
from deploy_helpers import changing, refused


def decide(place, verb, arn, reason="looked at"):
    return place.logged(verb, arn, "--reason", reason, stage=None)


def status_of(place, arn):
    package = place.sm.describe_model_package(ModelPackageName=arn)
    return package["ModelApprovalStatus"], package.get("ApprovalDescription")


def test_a_version_is_approved_once_for_a_reason(place):
    arn = place.register(approve=False)
    result, calls = decide(place, "approve", arn)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Approved")
    assert [call["operation"] for call in changing(calls)] == ["UpdateModelPackage"]
    assert status_of(place, arn) == ("Approved", "looked at")
    assert result["Next"].startswith(
        f"deploy-model promote --stage staging --model-package-arn {arn}"
    )
    result, calls = decide(place, "approve", arn)
    assert (result["ExitCode"], result["Outcome"], changing(calls)) == (0, "Unchanged", [])
    assert "give another --reason" in result["Message"]
    result, _ = decide(place, "approve", arn, "looked at anew")  # which renews the approval
    assert result["Outcome"] == "Approved"
    assert result["Next"].startswith("deploy-model status") and "--stage" not in result["Next"]
    assert place.typed(result["Next"].split()[1:])["ExitCode"] == 0


def test_a_rejection_withdraws_an_approval(place):
    arn = place.register()
    result, _ = decide(place, "reject", arn, "it is biased")
    assert (result["ExitCode"], result["Outcome"]) == (0, "Rejected")
    assert status_of(place, arn) == ("Rejected", "it is biased")
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 3


def test_p30_the_author_of_a_version_cannot_approve_it(place):
    place.settings("prod", Approval={"RequireTwoPeople": True})
    arn = place.register(approve=False)
    refused(*decide(place, "approve", arn), "another person", "RequireTwoPeople")
    assert decide(place, "reject", arn)[0]["ExitCode"] == 0


@pytest.mark.parametrize("reason", ["", " ", "two\nlines", "x" * 1025])
def test_a_reason_is_one_line(place, reason):
    arn = place.register(approve=False)
    refused(*decide(place, "approve", arn, reason), "argument --reason: it ", code=2)


def test_what_is_of_another_group_or_does_not_exist_is_refused(place):
    arn = place.register(approve=False)
    result, calls = place.logged(
        *("approve", arn, "--reason", "good", "--model-package-group-name", "another"), stage=None
    )
    refused(result, calls, "is of the group")
    refused(*decide(place, "approve", arn.replace("/1", "/9")), "does not exist")
    refused(*decide(place, "approve", "not-an-arn"), "is not the ARN", code=2)


def test_a_lost_reply_approves_once(place):
    arn = place.register(approve=False)
    place.inject("UpdateModelPackage", "lost_response")
    result, _ = decide(place, "approve", arn)
    assert result["ExitCode"] == 0 and status_of(place, arn)[0] == "Approved"
