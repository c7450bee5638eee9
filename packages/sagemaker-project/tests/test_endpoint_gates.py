"""The gates of rollback, clean-up and test as tables: pure functions of what a stage is."""

from dataclasses import replace

import pytest
from evidence_helpers import (
    GUARDED,
    SERVERLESS,
    back,
    deployed,
    endpoint,
    evidence,
    interrupted,
    never_served,
    request,
    rolling_back,
    serving,
    state,
    then,
)
from sagemaker_project.deploy.endpoint_gates import CLEANUP_GATES, ROLLBACK_GATES, TEST_GATES
from sagemaker_project.deploy.evidence import Parts
from sagemaker_project.deploy.gates import check
from sagemaker_project.errors import Busy, NeedsHuman, ProjectError, Refused

pytestmark = pytest.mark.fast

NAME = evidence().candidate.name


def second(**changes):
    """A rollback from version 2 to version 1."""
    return back(**serving(2, (1,), **changes))


def back_to(version):
    return request(command="rollback", to=version)


def failed():
    """Changes of a Rollback: the first promotion failed, and what it made was deleted."""
    ended = {"Action": "promote", "Deployment": deployed(2), "Reason": "no capacity"}
    return then(never_served(endpoint=None), ("Failed", ended))


NO_ROLLBACK = {
    "nothing was deployed": (back(), Refused, "nothing has been deployed"),
    "the first promotion never served": (
        back(**never_served(endpoint=None)),
        Refused,
        "nothing has been deployed",
    ),
    "no version before": (back(**serving(1)), Refused, "no version before version 1"),
    "no endpoint": (second(endpoint=None), Refused, "again with version 2: .* promote .*/2$"),
    "no endpoint, when it was rolling back": (
        back(**rolling_back(endpoint=None)),
        Refused,
        "again with version 1: .* promote .*/1$",
    ),
    "not a version to go back to": (
        back(**serving(3, (1, 2)), request=back_to(9)),
        Refused,
        "--to 9: .* those are: 2, 1 .*: deploy-model rollback --stage prod --to 2",
    ),
    "another rollback was interrupted": (
        back(**rolling_back(), request=back_to(3)),
        Refused,
        "rollback to version 1 of .* was interrupted: end it with deploy-model rollback --stage"
        " prod, then deploy-model promote --stage prod --latest-approved",
    ),
    "the first promotion failed": (
        back(**failed()),
        Refused,
        "promotion of version 2 failed on 2026-01-31T12:00 .no capacity.*--latest-approved",
    ),
    "busy": (second(endpoint=endpoint("x", "Updating")), Busy, "is busy: Updating"),
    "failed": (second(endpoint=endpoint("x", "Failed")), NeedsHuman, "delete-endpoint"),
    "changed by hand": (second(endpoint=endpoint("by-hand")), Refused, "--accept-drift"),
    "of somebody else, which the ledger does not know": (
        second(
            endpoint=endpoint("by-hand", EndpointArn="arn"), tags={"sagemaker:project-name": "x"}
        ),
        Refused,
        "was not made by deploy-model",
    ),
    "its configuration was deleted": (second(endpoint_config=None), NeedsHuman, "was deleted"),
    "the goal was serverless": (
        replace(second(), goal_config={"ProductionVariants": [SERVERLESS]}),
        Refused,
        "version 1 was serverless, .*model-package/AbalonePackageGroup/1 --retry",
    ),
    "its configuration was deleted, and its artifact for good": (
        second(endpoint_config=None, live_parts=Parts()),
        NeedsHuman,
        "administrator of the bucket has to restore",
    ),
    "the goal is gone for good": (replace(second(), missing=("m is gone",)), Refused, "m is gone"),
    "the goal was changed": (replace(second(), altered=("m changed",)), Refused, "m changed"),
}
UPDATING = serving(1, endpoint=endpoint("x", "Updating"))
FAILED = serving(1, endpoint=endpoint("x", "Failed"))
NO_CLEANUP = {
    "busy": (state(**UPDATING), Busy, "is busy: Updating"),
    "failed": (state(**FAILED), NeedsHuman, "delete-endpoint"),
}
NO_TEST = NO_CLEANUP | {
    "nothing is deployed": (state(), Refused, "nothing is deployed"),
    "something else serves": (
        state(**serving(1, endpoint=endpoint("by-hand"))),
        Refused,
        "the ledger says",
    ),
}
OTHERS = {
    f"{command}: {name}": (gates, *row)
    for command, gates, rows in (
        ("rollback", ROLLBACK_GATES, NO_ROLLBACK),
        ("cleanup", CLEANUP_GATES, NO_CLEANUP),
        ("test", TEST_GATES, NO_TEST),
    )
    for name, row in rows.items()
}


@pytest.mark.parametrize("gates, found, error, message", OTHERS.values(), ids=OTHERS)
def test_a_gate_of_another_command_refuses(gates, found, error, message):
    with pytest.raises(error, match=message) as refusal:
        check(gates, found)
    assert type(refusal.value) is error and "\n" not in str(refusal.value)


@pytest.mark.parametrize("gates", [ROLLBACK_GATES, CLEANUP_GATES, TEST_GATES])
def test_every_gate_of_another_command_has_a_case(gates):
    """Without any one of its gates, a command refuses less, or for another reason."""
    for gate in gates:
        fewer = [other for other in gates if other is not gate]
        assert any(
            _refusal(fewer, found) != _refusal(gates, found)
            for asked, found, *_ in OTHERS.values()
            if asked is gates
        ), gate.__name__


def _refusal(gates, found):
    try:
        check(gates, found)
    except ProjectError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("new, told", [(NAME, True), ("by-hand", False)])
def test_a_busy_endpoint_is_told_how_to_stop_a_promotion(new, told):
    updating = endpoint("x", "Updating", PendingDeploymentSummary={"EndpointConfigName": new})
    found = state(
        request=request(command="cleanup"), target=GUARDED, **interrupted(endpoint=updating)
    )
    with pytest.raises(Busy, match=f"Updating to {new}") as busy:
        check(CLEANUP_GATES, found)
    assert ("set-alarm-state --alarm-name errors" in str(busy.value)) is told
