"""From every state, what `status` recommends leads to an endpoint that is healthy.

A walk types the command that `deploy-model status` recommends, and nothing else, until status says
healthy. It takes three commands at most, or ends where status says who must do what. The states are
those that a kill at any call of promote, rollback and cleanup leaves, each object deleted by hand,
changes by hand, and damage of the ledger.
"""

import contextlib
import itertools
import signal

import pytest
from boundary_helpers import CLIENTS, kill, locked, run, state, unlock
from deploy_helpers import BUCKET, Place, artifact, until
from on_call_helpers import DOES_NOT_LOAD, name_of, status, typed

MOST = 3  # commands
ONE = [{"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
# Who must act where no command leads on, as docs/on-call.md lists them.
WHO = (
    "an approver",
    "the administrator of the AWS account",
    "the owner of the alarm",
    "its owner",
    "the author of the model",
)


@pytest.fixture
def few_clients(monkeypatch, deploy_project):
    CLIENTS.install(monkeypatch)


def walk(place):
    """Type what status recommends until it says healthy; return what was typed."""
    done = []
    while True:
        seen = status(place)
        if seen["Verdict"] == "healthy" and place.live():
            break
        if seen["Who"] and not seen["Next"]:
            assert seen["Who"].startswith(WHO), (done, seen["Who"])
            return done
        assert seen["Next"], (done, seen["Message"])
        assert len(done) < MOST, (done, seen["Message"], seen["Next"])
        result = typed(place, seen["Next"])
        done.append((seen["State"], seen["Next"], result and result["Message"]))
    assert seen["Outcome"] == "InService" and place.answer("1"), (done, seen)
    return done


def two_versions(place):
    place.settings("staging", ProductionVariants=ONE)
    for factor in (2, 3):
        arn = place.register(factor=factor)
        assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 0
    return arn


# Killed at any call


def first_promotion(place):
    place.settings("staging", ProductionVariants=ONE)
    return ("promote", "--model-package-arn", place.register())


def next_promotion(place):
    two_versions(place)
    return ("promote", "--model-package-arn", place.register(factor=4))


def broken_promotion(place):
    two_versions(place)
    return ("promote", "--model-package-arn", place.register(4, body=artifact(broken=True)))


def promotion_that_does_not_load(place):
    two_versions(place)
    body = artifact(inference=DOES_NOT_LOAD)
    return ("promote", "--model-package-arn", place.register(4, body=body))


def rollback(place):
    two_versions(place)
    return ("rollback",)


def cleanup(place):
    two_versions(place)
    arn = place.register(factor=4)
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 0
    return ("cleanup",)


COMMANDS = (
    *(first_promotion, next_promotion, broken_promotion, promotion_that_does_not_load),
    *(rollback, cleanup),
)


def killed_everywhere(place, prepare, numbers):
    """Kill a command at one call after the other, each time in a project of its own."""
    known = set()
    for number in numbers:
        here = Place(place.cloud, place.project, place.environment, place.workdir)
        words = prepare(here)
        before = state(here)
        ended = run(here, words, at=number, act=kill)
        if ended.signal is None:
            return
        assert ended.signal == signal.SIGKILL
        after = state(here)
        left = (locked(here), after == before, tuple(after["kinds"]), str(after["endpoint"][0]))
        if left in known and ended.boundaries[-1].startswith(("Get", "List", "Describe", "Head")):
            continue
        known.add(left)
        settle(here)
        try:
            walk(here)
        except AssertionError as error:
            raise AssertionError(f"killed at {number} ({ended.boundaries[-1]}): {error}") from None


def settle(place):
    """Let SageMaker come to its end: a person who looks later sees that."""
    if place.live():
        place.settled()


@pytest.mark.acceptance
@pytest.mark.usefixtures("few_clients")
@pytest.mark.parametrize("prepare", [next_promotion, rollback])
def test_a_killed_command_is_put_right_by_what_status_says(place, prepare):
    killed_everywhere(place, prepare, (15, 24))


@pytest.mark.acceptance
@pytest.mark.usefixtures("few_clients")
@pytest.mark.parametrize("prepare", COMMANDS)
def test_a_command_killed_at_any_call_is_put_right_by_what_status_says(place, prepare):
    killed_everywhere(place, prepare, itertools.count(1))


# Deleted by hand, changed by hand, damaged


def delete(place, *keys):
    for key in keys:
        place.s3.delete_object(Bucket=BUCKET, Key=key)


def the_live_config(place):
    place.sm.delete_endpoint_config(EndpointConfigName=place.live())


def the_live_model(place):
    place.sm.delete_model(ModelName=place.entries()[-1]["Deployment"]["Models"][0])


def the_live_copy(place):
    delete(place, place.copy_key())


def the_goals_config(place):
    goal = place.entries()[0]["Deployment"]
    place.sm.delete_endpoint_config(EndpointConfigName=goal["EndpointConfigName"])


def the_goals_model(place):
    place.sm.delete_model(ModelName=place.entries()[0]["Deployment"]["Models"][0])


def both_configs(place):
    the_goals_config(place)
    the_live_config(place)


def the_live_package(place):
    arn = place.entries()[-1]["Deployment"]["ModelPackageArn"]
    place.sm.delete_model_package(ModelPackageName=arn)


def the_live_original(place):
    delete(place, place.artifact_key(place.entries()[-1]["Deployment"]["ModelPackageArn"]))


def original_and_copy(place):
    the_live_original(place)
    the_live_copy(place)


def the_endpoint(place):
    place.sm.delete_endpoint(EndpointName=name_of(place))
    until(lambda: place.live() is None)


def the_endpoint_and_its_config(place):
    the_live_config(place)
    the_endpoint(place)


def the_live_config_with_other_settings(place):
    the_live_config(place)
    two = [{**ONE[0], "InitialInstanceCount": 2}]
    place.settings("staging", ProductionVariants=two)


def an_earlier_config_by_hand(place):
    first = place.entries()[0]["Deployment"]["EndpointConfigName"]
    place.sm.update_endpoint(EndpointName=name_of(place), EndpointConfigName=first)
    place.settled()


def another_config_by_hand(place):
    live = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
    name = f"{place.name}-by-hand"
    place.sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=live["ProductionVariants"]
    )
    place.sm.update_endpoint(EndpointName=name_of(place), EndpointConfigName=name)
    place.settled()


def another_config_that_was_deleted(place):
    another_config_by_hand(place)
    place.sm.delete_endpoint_config(EndpointConfigName=f"{place.name}-by-hand")


def entry(number):
    def damage(place):
        place.put(f"{place.name}/deploy/staging/ledger/{number:08d}.json", b"{}")

    damage.__name__ = f"entry_{number}_changed"
    return damage


def removed(number):
    def damage(place):
        delete(place, f"{place.name}/deploy/staging/ledger/{number:08d}.json")

    damage.__name__ = f"entry_{number}_removed"
    return damage


def the_whole_ledger(place):
    for number in range(1, 5):
        removed(number)(place)


def the_approval(place):
    arn = place.entries()[-1]["Deployment"]["ModelPackageArn"]
    place.approve(arn, "Rejected")


def both_approvals(place):
    for number in (0, -1):
        place.approve(place.entries()[number]["Deployment"]["ModelPackageArn"], "Rejected")


BY_HAND = (
    *(the_live_config, the_live_model, the_live_copy, the_goals_config, the_goals_model),
    *(both_configs, the_live_package, the_live_original, original_and_copy, the_endpoint),
    *(the_endpoint_and_its_config, the_live_config_with_other_settings),
    *(an_earlier_config_by_hand, another_config_by_hand, another_config_that_was_deleted),
    *map(entry, range(1, 5)),
    *map(removed, range(1, 5)),
    *(the_whole_ledger, the_approval, both_approvals),
)


FIRST = (the_live_config, the_live_package, the_endpoint, an_earlier_config_by_hand, both_approvals)


@pytest.mark.parametrize(
    "change",
    [pytest.param(c, marks=() if c in FIRST else pytest.mark.acceptance) for c in BY_HAND],
    ids=lambda change: change.__name__,
)
def test_what_was_done_by_hand_is_put_right_by_what_status_says(place, change):
    two_versions(place)
    change(place)
    walk(place)


@pytest.mark.acceptance
@pytest.mark.parametrize("change", BY_HAND, ids=lambda change: change.__name__)
def test_a_rollback_after_what_was_done_by_hand_ends_well(place, change):
    """As a person on call would type first; what it leaves is put right by what status says."""
    two_versions(place)
    change(place)
    assert place.deploy("rollback")["ExitCode"] in (0, 1, 2, 3, 5)
    if locked(place):
        unlock(place)
    walk(place)


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "changes",
    list(itertools.combinations((*BY_HAND[:12], the_approval), 2)),
    ids=lambda changes: " and ".join(change.__name__ for change in changes),
)
def test_two_things_done_by_hand_are_put_right_by_what_status_says(place, changes):
    two_versions(place)
    for change in changes:
        if place.live():
            with contextlib.suppress(place.sm.exceptions.ClientError):  # the other deleted it
                change(place)
    walk(place)
