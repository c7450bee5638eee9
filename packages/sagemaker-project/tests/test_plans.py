"""Plans as tables: pure functions of an Evidence that was never read from AWS."""

import copy
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import get_args

import pytest
from evidence_helpers import (
    GUARDED,
    NOW,
    RULE,
    SERVERLESS,
    VARIANT,
    arn,
    back,
    beside,
    copies,
    deployed,
    endpoint,
    entries,
    evidence,
    existing,
    interrupted,
    never_served,
    parts,
    pin,
    request,
    rolling_back,
    serving,
    state,
    target,
    then,
)
from sagemaker_project.deploy import executor, steps, undo
from sagemaker_project.deploy.cleanup import plan_cleanup
from sagemaker_project.deploy.creation import lost_for_good
from sagemaker_project.deploy.endpoint_gates import ROLLBACK_GATES
from sagemaker_project.deploy.evidence import Parts, Staged
from sagemaker_project.deploy.gates import check
from sagemaker_project.deploy.ledger import artifact_keys
from sagemaker_project.deploy.promotion import plan_promotion, token
from sagemaker_project.deploy.rollback import plan_rollback, restoration
from sagemaker_project.deploy.target import PACKAGE_TAG
from sagemaker_project.errors import DeployFailed, NeedsHuman

pytestmark = pytest.mark.fast

OLD = {name: value for name, value in deployed(1).items() if name != "Resources"}
OLD |= {"Pins": [{name: value for name, value in pin(1).items() if name != "ServedUrl"}]}
FIRST, NAME = evidence(1).candidate.name, evidence().candidate.name


def kinds(plan):
    """The steps of a plan in short: calls by their operation, entries by their kind."""
    short = []
    for step in plan.steps:
        if isinstance(step, steps.RecordEntry):
            short.append(step.kind)
        elif isinstance(step, steps.SendCall | steps.DeleteUnused):
            short.append(step.call.operation)
        else:
            short.append(type(step).__name__)
    return short


NEW = ["CopyArtifact", "CreateModel", "CreateEndpointConfig", "CheckApproval"]
SCALING = target(ProductionVariants=[{**VARIANT, "AutoScaling": RULE}])
LARGER = target(
    ProductionVariants=[{**VARIANT, "InstanceType": "ml.m5.xlarge", "AutoScaling": RULE}]
)


def without_config(version):
    return replace(parts(version), endpoint_configs={})


def rolled_back(**changes):
    """The endpoint once SageMaker has rolled an update back to version 1."""
    about = {"LastModifiedTime": NOW + timedelta(seconds=1), "FailureReason": "errors is in ALARM"}
    return endpoint(FIRST, **about | changes)


PROMOTIONS = {
    "a first version": (
        evidence(),
        ["Started", *NEW, "CreateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "the next version": (
        evidence(**serving(1)),
        ["Started", *NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "what serves already": (evidence(**serving(2), **existing(2)), []),
    "one that was killed before its first call": (
        evidence(**interrupted()),
        [*NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "one that was killed while the endpoint changed": (
        evidence(**interrupted(endpoint=endpoint("x", "Updating")), **existing(2)),
        ["WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "one that was killed while it served": (
        evidence(**interrupted(endpoint=endpoint(NAME)), **existing(2)),
        ["SmokeTest", "LastLook", "Promoted"],
    ),
    "one that SageMaker rolled back unseen": (
        evidence(**interrupted(endpoint=rolled_back()), **existing(2)),
        ["CheckOutcome", "Failed"],
    ),
    "one that SageMaker is rolling back": (
        evidence(**interrupted(endpoint=rolled_back(EndpointStatus="RollingBack")), **existing(2)),
        ["WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "one that was killed before its first call, after an earlier one that failed": (
        evidence(**interrupted(endpoint=rolled_back(LastModifiedTime=NOW))),
        [*NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "one that was killed before its first call, and then another was put there by hand": (
        evidence(**interrupted(endpoint=rolled_back(EndpointConfigName="by-hand"))),
        [*NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "a first one that was killed while its endpoint could not be created": (
        evidence(**never_served(), **existing(2)),
        ["WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "what serves, with a configuration that was deleted": (
        evidence(
            **serving(2, endpoint_config=None), models=existing(2)["models"], copies=copies(2)
        ),
        ["Started", "CreateEndpointConfig", "SmokeTest", "LastLook", "Promoted"],
    ),
    "what serves, with a model that was deleted": (
        evidence(**serving(2), endpoint_configs=existing(2)["endpoint_configs"], copies=copies(2)),
        ["Started", "CreateModel", "SmokeTest", "LastLook", "Promoted"],
    ),
    "what serves, with an artifact copy that was deleted": (
        evidence(**serving(2), **existing(2) | {"copies": {}}),
        ["Started", "CopyArtifact", "SmokeTest", "LastLook", "Promoted"],
    ),
    "a version whose artifact was copied before": (
        evidence(**serving(1), copies=copies(2)),
        [
            "Started",
            *NEW[1:],
            "UpdateEndpoint",
            "WaitForEndpoint",
            "SmokeTest",
            "LastLook",
            "Promoted",
        ],
    ),
    "the next version, where the configuration of this one was deleted": (
        evidence(**serving(1, endpoint_config=None), live_parts=without_config(1)),
        [
            *("Started", "CreateEndpointConfig", *NEW),
            *("UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"),
        ],
    ),
    "another version after one that was killed": (
        evidence(3, **interrupted()),
        [
            "Failed",
            "Started",
            *NEW,
            "UpdateEndpoint",
            "WaitForEndpoint",
            "SmokeTest",
            "LastLook",
            "Promoted",
        ],
    ),
    "a variant that begins to scale": (
        evidence(where=SCALING, **serving(2), **existing(2)),
        [
            "Started",
            "SmokeTest",
            "RegisterScalableTarget",
            "PutScalingPolicy",
            "LastLook",
            "Promoted",
        ],
    ),
    "a variant that does not scale any more": (
        evidence(**serving(2, scaling={"All": RULE}), **existing(2)),
        ["Started", "DeregisterScalableTarget", "SmokeTest", "LastLook", "Promoted"],
    ),
    "a variant that scales on": (
        evidence(where=SCALING, **serving(1, scaling={"All": RULE})),
        ["Started", *NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "LastLook", "Promoted"],
    ),
    "a variant that scales on, on other instances": (
        evidence(where=LARGER, **serving(1, scaling={"All": RULE})),
        [
            *("Started", *NEW[:-1], "DeregisterScalableTarget"),
            *("CheckApproval", "UpdateEndpoint", "WaitForEndpoint", "SmokeTest"),
            *("RegisterScalableTarget", "PutScalingPolicy", "LastLook", "Promoted"),
        ],
    ),
}


@pytest.mark.parametrize("found, wanted", PROMOTIONS.values(), ids=PROMOTIONS)
def test_a_promotion_has_these_steps(found, wanted):
    assert kinds(plan_promotion(found)) == wanted


def step_of(plan, kind):
    """The only step of a plan that has this kind or operation."""
    (found,) = (step for step, name in zip(plan.steps, kinds(plan), strict=True) if name == kind)
    return found


@pytest.mark.parametrize(
    "found, creates",
    [
        (
            evidence(),
            {
                "EndpointConfigs": [NAME],
                "Models": deployed(2)["Models"],
                "Artifacts": artifact_keys(deployed(2)),
            },
        ),
        (evidence(**existing(2)), {"EndpointConfigs": [], "Models": [], "Artifacts": []}),
    ],
)
def test_a_started_entry_names_what_is_to_be_created(found, creates):
    started = step_of(plan_promotion(found), "Started").entry
    assert started["Creates"] == creates and started["Deployment"] == deployed(2)


def test_an_endpoint_is_created_with_tags_and_updated_as_the_settings_say():
    created = step_of(plan_promotion(evidence(where=GUARDED)), "CreateEndpoint").call.members
    assert created["Tags"] == target().tags and "DeploymentConfig" not in created
    updated = step_of(plan_promotion(evidence(where=GUARDED, **serving(1))), "UpdateEndpoint")
    assert updated.call.members["DeploymentConfig"] == GUARDED.config.deployment


def test_a_smoke_test_compares_the_images_with_those_of_the_stage_before():
    found = evidence(staged=Staged(entries(), "hash", {"Images": ["a", "b"]}))
    assert step_of(plan_promotion(found), "SmokeTest").images == ("a", "b")
    assert step_of(plan_promotion(evidence()), "SmokeTest").images is None


def test_the_plan_of_a_first_version_says_what_the_next_one_will_need():
    notes = plan_promotion(evidence(where=GUARDED)).notes
    assert any("before the next promotion" in note and "errors" in note for note in notes)


def test_a_rollback_that_sagemaker_undid_is_recorded_with_its_reason():
    undone = rolled_back(EndpointConfigName=NAME)
    failed = step_of(plan_promotion(evidence(3, **rolling_back(endpoint=undone))), "Failed")
    assert (failed.entry["Action"], failed.entry["Reason"]) == ("rollback", "errors is in ALARM")


RESTORED = ["WaitForEndpoint", "RestoreVariants", "LastLook", "RolledBack"]


def followed(before):
    """Changes of a Rollback: version 2 serves, after version 1, and before it served `before`."""
    first, second = deployed(1), deployed(2) | {"Before": before}
    promoted = [("Promoted", {"Action": "promote", "Deployment": d}) for d in (first, second)]
    return serving(2) | {"ledger": entries(*promoted)}


def scaled(about):
    """These changes, but that every version in the ledger scales."""
    kept = [
        (entry["Kind"], entry | {"Deployment": entry["Deployment"] | {"Scaling": {"All": RULE}}})
        for entry in about["ledger"].entries
    ]
    return about | {"ledger": entries(*kept)}


def back_to(version):
    return request(command="rollback", to=version)


def once_back(**changes):
    """Version 2 serves after version 1; version 3 was rolled back."""
    first = deployed(1)
    second = deployed(2, first)
    third = deployed(3, second)
    promoted = [
        ("Promoted", {"Action": "promote", "Deployment": d}) for d in (first, second, third)
    ]
    entry = {"Action": "rollback", "Deployment": second, "Leaves": third}
    ledger = entries(*promoted, ("RolledBack", entry))
    return serving(2) | {"ledger": ledger} | changes


ROLLBACKS = {
    "from the second to the first": (
        back(**serving(2, (1,))),
        ["Started", "UpdateEndpoint", *RESTORED],
    ),
    "one that was killed before its update": (
        back(**rolling_back()),
        ["UpdateEndpoint", *RESTORED],
    ),
    "one that was killed after its update": (
        back(**rolling_back(endpoint=endpoint("x", "Updating"))),
        RESTORED,
    ),
    "one that was killed when all but its entry was done": (
        back(**rolling_back(endpoint=endpoint(evidence(1).candidate.name))),
        ["RestoreVariants", "LastLook", "RolledBack"],
    ),
    "one that was killed while the endpoint changed": (
        back(**rolling_back(endpoint=endpoint(FIRST, "Updating"))),
        RESTORED,
    ),
    "from a version that did not follow the goal": (
        back(**followed({"EndpointConfigName": "by-hand", "Variants": []})),
        ["Started", "UpdateEndpoint", "WaitForEndpoint", "LastLook", "RolledBack"],
    ),
    "to a variant that does not scale": (
        back(**serving(2, (1,), scaling={"All": RULE})),
        ["Started", "DeregisterScalableTarget", "UpdateEndpoint", *RESTORED],
    ),
    "to a variant that scales": (
        back(**scaled(serving(2, (1,)))),
        [
            *("Started", "UpdateEndpoint", "WaitForEndpoint", "RestoreVariants"),
            *("RegisterScalableTarget", "PutScalingPolicy", "LastLook", "RolledBack"),
        ],
    ),
    "to a version of which everything was deleted": (
        replace(back(**serving(2, (1,))), goal_parts=Parts()),
        ["Started", *NEW[:-1], "UpdateEndpoint", *RESTORED],
    ),
    "from a version whose configuration was deleted": (
        back(**serving(2, (1,), endpoint_config=None, live_parts=without_config(2))),
        ["Started", "CreateEndpointConfig", "UpdateEndpoint", *RESTORED],
    ),
    "to a version that was recorded before resources were": (
        replace(back(**serving(2, (1,))), goal=OLD),
        ["Started", "UpdateEndpoint", *RESTORED],
    ),
    "after a promotion that was killed when it had ended the scaling": (
        back(**scaled(interrupted())),
        ["RegisterScalableTarget", "PutScalingPolicy", "Failed"],
    ),
    "after a promotion that was killed before it served": (back(**interrupted()), ["Failed"]),
    "after a first promotion that could not be created": (
        back(**never_served()),
        ["CheckOutcome", "Failed"],
    ),
    "after a rollback": (back(**once_back()), []),
    "to what serves": (back(**serving(2, (1,)), request=back_to(2)), []),
    "over two levels": (
        back(**serving(3, (1, 2)), request=back_to(1)),
        ["Started", "UpdateEndpoint", *RESTORED],
    ),
    "after a rollback, to one that is further back": (
        back(**once_back(), request=back_to(1)),
        ["Started", "UpdateEndpoint", *RESTORED],
    ),
    "after a rollback, when something else was put there by hand": (
        back(
            **once_back(endpoint=endpoint("by-hand")),
            request=request(command="rollback", accept_drift=True),
        ),
        ["Started", "UpdateEndpoint", "WaitForEndpoint", "LastLook", "RolledBack"],
    ),
    "after a promotion that was killed when it served": (
        back(**interrupted(endpoint=endpoint(NAME))),
        ["Promoted", "Started", "UpdateEndpoint", *RESTORED],
    ),
}


@pytest.mark.parametrize("found, wanted", ROLLBACKS.values(), ids=ROLLBACKS)
def test_a_rollback_has_these_steps(found, wanted):
    check(ROLLBACK_GATES, found)
    assert kinds(plan_rollback(found)) == wanted


def test_a_rollback_over_two_levels_restores_what_the_goal_had_when_the_next_one_began():
    first = deployed(1)
    kept = {"VariantName": "All", "Weight": 0.25, "InstanceCount": 7}
    second = deployed(2, first)
    second["Before"]["Variants"] = [kept]
    third = deployed(3, second)
    promoted = [
        ("Promoted", {"Action": "promote", "Deployment": d}) for d in (first, second, third)
    ]
    found = back(**serving(3) | {"ledger": entries(*promoted)}, request=back_to(1))
    plan = plan_rollback(found)
    assert step_of(plan, "RestoreVariants").snapshot["Variants"] == [kept]
    ended = step_of(plan, "RolledBack")
    after = found.ledger.after((ended.kind, ended.entry))
    assert [deployment["ModelPackageVersion"] for deployment in after.stack] == [1]
    assert after.weights(FIRST) == {"All": 0.25} and found.ledger.weights(FIRST) == {}
    for number in (2, 3):
        used = after.uses(arn(number), NOW.isoformat())
        assert used and used["Kind"] == "RolledBack"
    assert after.uses(arn(1), NOW.isoformat())["Kind"] == "Promoted"


def test_a_look_at_the_end_asks_the_alarms_that_guarded_the_traffic():
    first = evidence(where=GUARDED)
    following = evidence(where=GUARDED, **serving(1))
    hurried = replace(following, request=request(now=True, reason="prod is down"))
    alarms = [
        step_of(plan_promotion(found), "LastLook").alarms for found in (first, following, hurried)
    ]
    assert alarms == [(), ("errors",), ()]
    assert step_of(plan_promotion(following), "LastLook").packages == (arn(),)
    assert step_of(plan_rollback(back(**serving(2, (1,)))), "LastLook").packages == ()


def test_now_shifts_no_traffic_and_is_recorded():
    asked = request(now=True, reason="prod is down")
    plan = plan_promotion(evidence(where=GUARDED, request=asked, **serving(1)))
    assert "DeploymentConfig" not in step_of(plan, "UpdateEndpoint").call.members
    for kind in ("Started", "Promoted"):
        entry = step_of(plan, kind).entry
        assert (entry["Now"], entry["Reason"]) == (True, "prod is down")


def test_what_was_deleted_is_created_again_as_it_was():
    plan = plan_rollback(replace(back(**serving(2, (1,))), goal_parts=Parts()))
    first = evidence(1).candidate
    assert step_of(plan, "CreateModel").call.members == first.models[0]
    assert step_of(plan, "CreateEndpointConfig").call.members == first.endpoint_config
    copied = step_of(plan, "CopyArtifact")
    assert (copied.source, copied.sha256) == (pin(1)["ModelDataUrl"], pin(1)["Sha256"])
    assert pin(1)["ServedUrl"].endswith(f"/{copied.call.members['Key']}")


def test_models_of_several_versions_are_tagged_with_their_own():
    plan = plan_promotion(beside())
    tags = [
        {tag["Key"]: tag["Value"] for tag in step.call.members["Tags"]}[PACKAGE_TAG]
        for step in plan.steps
        if isinstance(step, steps.SendCall) and step.call.operation == "CreateModel"
    ]
    assert tags == [arn(2), arn(1)]


@pytest.mark.parametrize(
    "found, told",
    [
        ({}, []),
        ({"sources": {}}, ["is gone: an administrator of the bucket has to restore"]),
        ({"sources": {pin(1)["ModelDataUrl"]: "x"}}, ["has other bytes (sha256 x)"]),
    ],
)
def test_an_artifact_that_cannot_be_copied_again_is_told(found, told):
    sources = {pin(1)["ModelDataUrl"]: pin(1)["Sha256"]}
    lost = Parts(**{"sources": sources} | found)
    messages = list(lost_for_good(target(), deployed(1), lost))
    assert len(messages) == len(told) and all(a in b for a, b in zip(told, messages, strict=True))


def test_what_an_earlier_format_recorded_cannot_be_created_again():
    (config, model) = lost_for_good(target(), OLD, Parts())
    assert config.startswith(f"{FIRST} was deleted") and "--retry" in model


def test_a_rollback_keeps_the_instances_of_now():
    update = step_of(plan_rollback(back(**serving(2, (1,)))), "UpdateEndpoint").call.members
    assert update["RetainAllVariantProperties"] is True
    assert {"VariantPropertyType": "DesiredWeight"} in update["ExcludeRetainedVariantProperties"]
    assert "DeploymentConfig" not in update


@pytest.mark.parametrize(
    "weight, count, change",
    [
        (1.0, 2, None),
        (1.0, 3, None),  # added since then
        (0.5, 2, {"DesiredWeight": 1.0}),
        (1.0, 1, {"DesiredInstanceCount": 2}),
    ],
)
def test_weights_and_instances_that_are_missing_are_restored(weight, count, change):
    now = {"VariantName": "All", "DesiredWeight": weight, "DesiredInstanceCount": count}
    kept = {"VariantName": "All", "Weight": 1.0, "InstanceCount": 2}
    snapshot = {"EndpointConfigName": FIRST, "Variants": [kept]}
    call = restoration("e", endpoint(FIRST, ProductionVariants=[now]), snapshot)
    changes = call and call.members["DesiredWeightsAndCapacities"]
    assert changes == (change and [{"VariantName": "All", **change}])


def test_plans_of_rollback_and_cleanup_write_nothing_into_their_arguments():
    for plan, found in (
        *((plan_rollback, row[0]) for row in ROLLBACKS.values()),
        (plan_cleanup, state(**serving(3, (1, 2)))),
    ):
        before = copy.deepcopy(found)
        plan(found)
        assert found == before


def test_a_cleanup_keeps_what_serves_and_what_a_rollback_needs():
    plan = plan_cleanup(state(**serving(3, (1, 2))))
    assert kinds(plan) == ["DeleteEndpointConfig", "DeleteModel", "DeleteObject", "CleanedUp"]
    first = deployed(1)
    assert [step.call.resource for step in plan.steps[:3]] == [
        first["EndpointConfigName"],
        *first["Models"],
        *artifact_keys(first),
    ]


def test_a_cleanup_keeps_an_artifact_that_another_deployment_needs():
    """Version 1 with other settings: another configuration, the same bytes."""
    larger = deployed(1, deployed(2), where=LARGER)
    begun = {"Action": "promote", "Deployment": larger, "Creates": {}}
    about = then(serving(2, (1,)), ("Started", begun), ("Promoted", begun))
    about |= {"endpoint": endpoint(larger["EndpointConfigName"])}
    assert kinds(plan_cleanup(state(**about))) == ["DeleteEndpointConfig", "CleanedUp"]


THREE = serving(3, (1, 2))
PENDING = {"PendingDeploymentSummary": {"EndpointConfigName": FIRST}}
KEPT = {
    "what may be rolled back to": serving(2, (1,)),
    "what serves after all": THREE | {"endpoint": endpoint(FIRST)},
    "what is about to serve": THREE | {"endpoint": endpoint("x", "Updating", **PENDING)},
    "what an interrupted promotion made": interrupted(3, (1, 2)) | {"endpoint": endpoint(FIRST)},
}


@pytest.mark.parametrize("about", KEPT.values(), ids=KEPT)
def test_a_cleanup_keeps(about):
    assert kinds(plan_cleanup(state(**about))) == []


def test_a_cleanup_keeps_the_models_of_a_configuration_made_by_hand():
    variants = [{"VariantName": "All", "ModelName": deployed(1)["Models"][0]}]
    by_hand = {"EndpointConfigName": "by-hand", "ProductionVariants": variants}
    about = THREE | {"endpoint": endpoint("by-hand"), "endpoint_config": by_hand}
    assert kinds(plan_cleanup(state(**about))) == ["DeleteEndpointConfig", "CleanedUp"]


# Steps


def test_every_kind_of_step_has_a_handler():
    assert set(executor.HANDLERS) == set(get_args(steps.Step))


def test_a_step_of_an_unknown_kind_raises():
    doing = executor.Executor.__new__(executor.Executor)
    with pytest.raises(TypeError, match="no handler for this step"):
        doing.do_step(object())


def test_a_version_that_fails_and_cannot_be_replaced_is_for_a_person():
    """SageMaker undoes the update to the version before, so the one that failed still serves."""

    class Undone:
        aws = SimpleNamespace(
            endpoint_config=lambda name: evidence().candidate.endpoint_config,
            scaling=lambda name, variants: {},
        )
        target, ledger, sent = target(), serving(1)["ledger"], []

        def say(self, text):
            pass

        def described(self):
            return endpoint(NAME)

        def send(self, call):
            self.sent.append(call.members["EndpointConfigName"])

        def wait_for(self, wanted):
            raise DeployFailed(f"SageMaker rolled back to {NAME}, which serves: no capacity")

    before = {"EndpointConfigName": FIRST, "Variants": []}
    with pytest.raises(NeedsHuman, match="wrong answers; it still serves.*no capacity") as failure:
        undo.put_back(Undone(), before, "wrong answers")
    assert "deploy-model rollback --stage prod" in str(failure.value)
    assert Undone.sent == [FIRST]


def test_p20_a_version_that_was_serverless_is_not_put_back():
    """SageMaker refuses the update back, so none is sent."""
    serverless = {"ProductionVariants": [SERVERLESS]}
    configs = {NAME: evidence().candidate.endpoint_config, FIRST: serverless}
    doing = SimpleNamespace(
        aws=SimpleNamespace(endpoint_config=lambda name: configs[name]),
        described=lambda: endpoint(NAME),
        target=target(),
        ledger=serving(1)["ledger"],
        say=lambda text: None,
    )
    before = {"EndpointConfigName": FIRST, "Variants": []}
    with pytest.raises(NeedsHuman, match="wrong answers; it still serves.*was serverless") as told:
        undo.put_back(doing, before, "wrong answers")
    assert f"promote --stage prod --model-package-arn {arn(1)} --retry" in str(told.value)


def test_a_plan_says_that_there_is_no_way_back_to_serverless():
    live = {"EndpointConfigName": FIRST, "ProductionVariants": [SERVERLESS]}
    notes = plan_promotion(evidence(**serving(1, endpoint_config=live))).notes
    assert any("cannot be rolled back to serverless" in note for note in notes)


def test_a_token_changes_with_the_plan_and_with_what_it_was_made_from():
    first, second = evidence(**serving(1)), evidence(**interrupted())
    tested = evidence(**then(serving(1), ("Tested", {})))
    by_hand = evidence(**serving(1, endpoint=endpoint("by-hand")))
    others = (second, tested, by_hand, evidence())
    tokens = {token(plan_promotion(found), found) for found in (first, *others)}
    assert len(tokens) == 5
    assert token(plan_promotion(first), first) == token(plan_promotion(first), first)
