"""The verdict and what `status` recommends, as pure functions of what was read."""

from dataclasses import replace

import pytest
from evidence_helpers import (
    ALARMED,
    NOW,
    SERVERLESS,
    VARIANT,
    arn,
    deployed,
    endpoint,
    entries,
    evidence,
    package,
    request,
    rolling_back,
    serving,
    target,
    then,
)
from sagemaker_project.deploy.drift import owner_tags
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.ledger_read import Damage
from sagemaker_project.deploy.observation import (
    Before,
    Observation,
    Probe,
    Unread,
)
from sagemaker_project.deploy.recommendation import RULES, findings
from sagemaker_project.deploy.traffic import Traffic, begin, queries, traffic
from sagemaker_project.deploy.verdict import judge

pytestmark = pytest.mark.fast

STAGING = replace(target("staging"), after="prod")
GUARDED = replace(target("staging", DeploymentConfig=ALARMED), after="prod")
LOCK = {"What": "promote version 2", "By": "ann", "Host": "here", "Since": NOW.isoformat()}
QUIET = {"errors": {"StateValue": "OK"}}
STARTED = {"Action": "promote", "Deployment": deployed(2, deployed(1))}


def seen(version=None, of=(), where=STAGING, **changes):
    """A stage of which everything was read: `version` serves, after those in `of`."""
    about = {"ledger": Ledger()} if version is None else serving(version, of)
    names = evidence(version or 1).candidate.models
    about |= {
        "request": request(command="status", stage=where.stage),
        "target": where,
        "now": NOW,
        "tags": owner_tags(where),
        "models": {model["ModelName"]: model for model in names} if version else {},
        "packages": {arn(number): package(number) for number in (*of, version or 1)},
    }
    return Observation(**about | changes)


def back(kind="RolledBack", of=(1,), **changes):
    """Version 1 serves after a rollback from version 2."""
    first = deployed(1)
    end = {"Action": "rollback", "Deployment": first, "Leaves": deployed(2, first)}
    about = then(serving(2, of), ("Started", end), (kind, end))
    first_config = evidence(1).candidate.endpoint_config
    live = {"endpoint": endpoint(first_config["EndpointConfigName"])}
    return seen(1, **about | live | {"endpoint_config": first_config} | changes)


def failed_after_a_rollback(**changes):
    """Version 2 serves after a rollback from version 3; then version 4 failed."""
    second = deployed(2, deployed(1))
    end = {"Action": "rollback", "Deployment": second, "Leaves": deployed(3, second)}
    tried = {"Action": "promote", "Deployment": deployed(4, second)}
    rolled_back = (("Started", end), ("RolledBack", end))
    about = then(serving(3, (1, 2)), *rolled_back, ("Started", tried), ("Failed", tried))
    config = evidence(2).candidate.endpoint_config
    live = {"endpoint": endpoint(config["EndpointConfigName"]), "endpoint_config": config}
    return seen(2, **about | live | changes)


def pending(**changes):
    """The promotion of version 2 was killed; version 1 serves."""
    about = then(serving(1), ("Started", STARTED))
    return seen(1, **{"ledger": about["ledger"]} | changes)


def staged(version, status="Passed", **changes):
    """The stage before prod, in which a version serves and was tested."""
    where = target("staging")
    here = Before(where, Ledger())
    about = {
        "ModelPackageArn": arn(version),
        "ConfigHash": here.config_hash(arn(version)),
        "Status": status,
        "ReportUri": "s3://bucket/report.json",
        "Pins": [],
        "Images": [],
    }
    begun = {"Action": "promote", "Deployment": deployed(version)}
    kinds = [("Started", begun), ("Promoted", begun)]
    return Before(where, entries(*kinds, *([("Tested", {"Test": about})] if status else [])))


def prod(version=None, before=None, **changes):
    return seen(version, where=target("prod"), before=before, **changes)


GONE = {"endpoint": None, "endpoint_config": None}
BUSY = {"endpoint": endpoint("other", "Updating")}
FAILED = ("Failed", {"Action": "promote", "Deployment": deployed(1), "Reason": "it does not load"})
PROMOTE = "deploy-model promote --stage staging --model-package-arn"
TO_PROD = "deploy-model promote --stage prod --model-package-arn"
ABSENT_2 = entries(*[("Failed", FAILED[1])] * 2)
URGENT = then(serving(1), ("Started", {**STARTED, "Now": True, "Reason": "emergency"}))
DIRTY = package(1, CustomerMetadataProperties={"GitCommit": "0123456789abcdef-dirty"})


def two(first, second, endpoint_config):
    """A deployment after another one, which serves."""
    ends = [{"Action": "promote", "Deployment": deployment} for deployment in (first, second)]
    kinds = [(kind, end) for end in ends for kind in ("Started", "Promoted")]
    live = endpoint(second["EndpointConfigName"])
    return {"ledger": entries(*kinds), "endpoint": live, "endpoint_config": endpoint_config}


ONCE = deployed(1, where=target("staging", ProductionVariants=[SERVERLESS]))
SINCE_SERVERLESS = two(ONCE, deployed(2, ONCE), evidence(2).candidate.endpoint_config)
BIGGER = target("staging", ProductionVariants=[{**VARIANT, "InitialInstanceCount": 2}])
BIGGER_MODELS = {model["ModelName"]: model for model in evidence(2, BIGGER).candidate.models}
RESIZED = two(
    deployed(2),
    deployed(2, deployed(2), where=BIGGER),
    evidence(2, BIGGER).candidate.endpoint_config,
)
SLOW = (Traffic("All", 100, 50, 1, 1),)
REJECTED = package(2, ModelApprovalStatus="Rejected")
SECOND = {
    "endpoint": endpoint(evidence(2).candidate.name),
    "endpoint_config": evidence(2).candidate.endpoint_config,
}
TABLE = {
    # what is seen: (state, verdict, the start of the command or of who must act)
    "healthy, not tested": (seen(1), "healthy", "healthy", "deploy-model test --stage staging"),
    "nothing at all": (seen(), "nothing deployed", "healthy", "an approver must approve"),
    "one that waits": (
        seen(waiting=arn(1)),
        "nothing deployed",
        "healthy",
        f"deploy-model approve {arn(1)} --reason",
    ),
    "one that is approved": (seen(approved=arn(1)), "nothing deployed", "healthy", PROMOTE),
    "the first failed": (
        seen(ledger=entries(FAILED), approved=arn(1)),
        "first creation failed",
        "degraded",
        f"{PROMOTE} {arn(1)} --retry",
    ),
    "the first failed twice": (
        seen(ledger=ABSENT_2, approved=arn(1)),
        "first creation failed",
        "degraded",
        "the author of the model must fix version 1, which failed twice: it does not load",
    ),
    "a newer one after the first failed": (
        seen(ledger=entries(FAILED), approved=arn(2)),
        "first creation failed",
        "degraded",
        f"{PROMOTE} {arn(2)}",
    ),
    "deleted": (seen(2, (1,), **GONE), "endpoint deleted", "down", f"{PROMOTE} {arn(2)}"),
    "deleted, its package too": (
        seen(2, (1,), **GONE, packages={arn(2): None}, approved=arn(3)),
        "endpoint deleted",
        "down",
        f"{PROMOTE} {arn(3)}",
    ),
    "deleted, its approval withdrawn": (
        seen(2, (1,), **GONE, packages={arn(1): package(1), arn(2): REJECTED}),
        "endpoint deleted",
        "down",
        f"{PROMOTE} {arn(1)}",
    ),
    "deleted, its artifact too": (
        seen(2, (1,), **GONE, artifacts_missing={arn(2): ("ModelDataUrl",)}),
        "endpoint deleted",
        "down",
        f"{PROMOTE} {arn(1)}",
    ),
    "deleted, every artifact too": (
        seen(2, (1,), **GONE, artifacts_missing={arn(n): ("ModelDataUrl",) for n in (1, 2)}),
        "endpoint deleted",
        "down",
        "the author of the model must register version 2 anew",
    ),
    "prod before staging": (
        prod(before=Before(target("staging"), Ledger()), approved=arn(1)),
        "nothing deployed",
        "healthy",
        "deploy-model promote --stage staging --latest-approved",
    ),
    "prod, not tested": (
        prod(before=staged(1, "")),
        "nothing deployed",
        "healthy",
        "deploy-model test --stage staging",
    ),
    "prod, the test failed": (
        prod(before=staged(1, "Failed")),
        "nothing deployed",
        "healthy",
        "the author of the model must fix version 1, whose staging test failed",
    ),
    "prod, tested": (prod(before=staged(1)), "nothing deployed", "healthy", f"{TO_PROD} {arn(1)}"),
    "prod, deleted, another one tested": (
        prod(1, before=staged(2), **GONE),
        "endpoint deleted",
        "down",
        f"{TO_PROD} {arn(2)}",
    ),
    "prod, staging unread": (
        prod(unread={"the stage before": Unread("may not s3:ListBucket", True)}),
        "nothing deployed",
        "healthy",
        "the administrator of the AWS account",
    ),
    "ours, at work": (
        pending(lock=LOCK, lock_lives=True, **BUSY),
        "in progress",
        "healthy",
        "deploy-model status --stage staging --watch",
    ),
    "ours, rolling back": (
        pending(lock=LOCK, lock_lives=True, endpoint=endpoint("other", "RollingBack")),
        "in progress",
        "degraded",
        "deploy-model status --stage staging --watch",
    ),
    "others, at work": (
        seen(1, **BUSY),
        "changed by others now",
        "degraded",
        "deploy-model status --stage staging --watch",
    ),
    "AWS at work": (
        seen(1, endpoint=endpoint(evidence(1).candidate.name, "SystemUpdating")),
        "changed by others now",
        "healthy",
        "deploy-model status --stage staging --watch",
    ),
    "being deleted": (
        seen(1, endpoint=endpoint("other", "Deleting")),
        "changed by others now",
        "down",
        "deploy-model status --stage staging --watch",
    ),
    "interrupted before it served": (
        pending(packages={arn(n): package(n) for n in (1, 2)}),
        "interrupted",
        "degraded",
        f"{PROMOTE} {arn(2)}",
    ),
    "interrupted, with a lock that ended": (
        pending(lock=LOCK),
        "interrupted",
        "degraded",
        f"{PROMOTE} {arn(2)}",
    ),
    "interrupted, and not approved any more": (
        pending(packages={arn(2): package(2, ModelApprovalStatus="Rejected")}),
        "interrupted",
        "degraded",
        "deploy-model rollback --stage staging",
    ),
    "interrupted, and its alarm is gone": (
        pending(target=GUARDED),
        "interrupted",
        "degraded",
        "deploy-model rollback --stage staging",
    ),
    "interrupted while all at once": (
        pending(
            ledger=then(serving(1), ("Started", {**STARTED, "Now": True, "Reason": "it burns"}))[
                "ledger"
            ]
        ),
        "interrupted",
        "degraded",
        f"{PROMOTE} {arn(2)} --now --reason 'it burns'",
    ),
    "interrupted, and its endpoint is gone": (
        pending(**GONE),
        "interrupted",
        "down",
        f"{PROMOTE} {arn(2)}",
    ),
    "a rollback that was interrupted": (
        back(
            ledger=then(
                serving(2, (1,)),
                (
                    "Started",
                    {
                        "Action": "rollback",
                        "Deployment": deployed(1),
                        "Leaves": deployed(2, deployed(1)),
                    },
                ),
            )["ledger"]
        ),
        "interrupted",
        "degraded",
        "deploy-model rollback --stage staging",
    ),
    "by hand": (
        seen(2, (1,), endpoint=endpoint("other")),
        "changed by hand",
        "degraded",
        f"{PROMOTE} {arn(2)} --accept-drift",
    ),
    "by hand, the alarm is in ALARM": (
        seen(
            2,
            (1,),
            where=GUARDED,
            endpoint=endpoint("other"),
            alarms={"errors": {"StateValue": "ALARM"}},
        ),
        "changed by hand",
        "degraded",
        f"{PROMOTE} {arn(2)} --accept-drift --now --reason 'the alarm errors is in ALARM'",
    ),
    "by hand, and what the ledger has is rejected": (
        seen(
            2,
            (1,),
            endpoint=endpoint("other"),
            packages={arn(2): package(2, ModelApprovalStatus="Rejected")},
        ),
        "changed by hand",
        "degraded",
        "deploy-model rollback --stage staging --to 1 --accept-drift",
    ),
    "not ours": (
        seen(endpoint=endpoint("other"), endpoint_config={"ProductionVariants": []}, tags={}),
        "not ours",
        "degraded",
        "its owner must say what it is",
    ),
    "configuration deleted": (
        seen(2, (1,), endpoint_config=None),
        "configuration deleted",
        "degraded",
        f"{PROMOTE} {arn(2)}",
    ),
    "model deleted": (
        seen(2, (1,), models={}),
        "configuration deleted",
        "degraded",
        f"{PROMOTE} {arn(2)}",
    ),
    "configuration deleted, and the settings have changed": (
        seen(2, (1,), endpoint_config=None, target=target("staging", EnableNetworkIsolation=True)),
        "configuration deleted",
        "degraded",
        f"{PROMOTE} {arn(2)}",
    ),
    "a rollback was interrupted, and the endpoint is gone": (
        seen(2, **rolling_back(**GONE)),
        "interrupted",
        "down",
        f"{PROMOTE} {arn(1)}",
    ),
    "a rollback was interrupted, and something else was put there by hand": (
        seen(
            2,
            **rolling_back(
                endpoint=endpoint(evidence(3).candidate.name),
                endpoint_config=evidence(3).candidate.endpoint_config,
            ),
        ),
        "interrupted",
        "degraded",
        "deploy-model rollback --stage staging --accept-drift",
    ),
    "an emergency was interrupted, and its alarm is on": (
        seen(1, **URGENT, where=GUARDED, alarms={"errors": {"StateValue": "ALARM"}}),
        "interrupted",
        "degraded",
        f"{PROMOTE} {arn(2)} --now --reason emergency",
    ),
    "slow, and the version before was serverless": (
        seen(2, **SINCE_SERVERLESS, traffic=SLOW),
        "fails or slow",
        "degraded",
        f"{PROMOTE} {arn(1)} --retry",
    ),
    "slow, and the version before is the same with other settings": (
        seen(2, **RESIZED, models=BIGGER_MODELS, traffic=SLOW),
        "fails or slow",
        "degraded",
        "deploy-model rollback --stage staging",
    ),
    "prod has nothing, and the stage before a damaged ledger": (
        prod(before=replace(staged(1), damage=(Damage(3, "3.json", "not JSON", "", 3),))),
        "nothing deployed",
        "healthy",
        "deploy-model ledger accept 3 --stage staging",
    ),
    "tested, and taken back in prod": (
        seen(1, ledger=staged(1).ledger, after=entries(FAILED)),
        "healthy",
        "healthy",
        "the author of the model must fix version 1, which failed in prod",
    ),
    "tested, and in prod already": (
        seen(1, ledger=staged(1).ledger, after=serving(1)["ledger"]),
        "healthy",
        "healthy",
        "",
    ),
    "interrupted, and it serves badly": (
        seen(2, **then(serving(1), ("Started", STARTED)) | SECOND, traffic=SLOW),
        "interrupted",
        "degraded",
        "deploy-model rollback --stage staging",
    ),
    "slow, and the version before was rejected": (
        seen(3, (1, 2), packages={arn(2): REJECTED}, traffic=SLOW),
        "fails or slow",
        "degraded",
        "deploy-model rollback --stage staging --to 1",
    ),
    "tested, with changes that no commit has": (
        prod(1, staged(1), packages={arn(1): DIRTY}, **GONE),
        "endpoint deleted",
        "down",
        "the author of the model must commit",
    ),
    "Failed": (
        seen(1, endpoint=endpoint(evidence(1).candidate.name, "Failed")),
        "failed",
        "down",
        "aws sagemaker delete-endpoint --endpoint-name shellfish-staging --region us-east-1",
    ),
    "OutOfService": (
        seen(1, endpoint=endpoint(evidence(1).candidate.name, "OutOfService")),
        "failed",
        "down",
        "aws sagemaker update-endpoint --endpoint-name shellfish-staging",
    ),
    "UpdateRollbackFailed": (
        seen(1, endpoint=endpoint(evidence(1).candidate.name, "UpdateRollbackFailed")),
        "failed",
        "degraded",
        "aws sagemaker update-endpoint --endpoint-name shellfish-staging",
    ),
    "approval withdrawn": (
        seen(2, (1,), packages={arn(2): package(2, ModelApprovalStatus="Rejected")}),
        "approval withdrawn",
        "degraded",
        "deploy-model rollback --stage staging --to 1",
    ),
    "approval withdrawn, no way back": (
        seen(1, packages={arn(1): package(1, ModelApprovalStatus="Rejected")}),
        "approval withdrawn",
        "degraded",
        f"deploy-model approve {arn(1)} --reason",
    ),
    "package deleted, no way back": (
        seen(1, packages={arn(1): None}),
        "approval withdrawn",
        "degraded",
        "an approver must approve a version",
    ),
    "alarm missing": (
        seen(1, where=GUARDED),
        "alarm missing",
        "degraded",
        "the owner of the alarm must create it: errors",
    ),
    "alarm quiet": (
        seen(1, where=GUARDED, alarms=QUIET),
        "healthy",
        "healthy",
        "deploy-model test --stage staging",
    ),
    "alarm on": (
        seen(2, (1,), where=GUARDED, alarms={"errors": {"StateValue": "ALARM"}}),
        "alarm on",
        "degraded",
        "deploy-model rollback --stage staging --to 1",
    ),
    "alarm on, after a rollback": (
        back(target=GUARDED, alarms={"errors": {"StateValue": "ALARM"}}),
        "alarm on",
        "degraded",
        "the author of the model must find the reason in the log group",
    ),
    "alarm on, after a rollback and a promotion that failed": (
        failed_after_a_rollback(target=GUARDED, alarms={"errors": {"StateValue": "ALARM"}}),
        "alarm on",
        "degraded",
        "the author of the model must find the reason in the log group",
    ),
    "alarm without data": (
        seen(1, where=GUARDED, alarms={"errors": {"StateValue": "INSUFFICIENT_DATA"}}),
        "alarm without data",
        "degraded",
        "deploy-model status --stage staging --probe",
    ),
    "errors": (
        seen(2, (1,), traffic=(Traffic("All", 100.0, 1.0, None, None),)),
        "fails or slow",
        "degraded",
        "deploy-model rollback --stage staging --to 1",
    ),
    "slow": (
        seen(2, (1,), traffic=(Traffic("All", 100.0, 0.0, 10.0, 1001.0),)),
        "fails or slow",
        "degraded",
        "deploy-model rollback --stage staging --to 1",
    ),
    "no traffic": (
        seen(1, traffic=(Traffic("All", None, None, None, None),)),
        "healthy",
        "healthy",
        "deploy-model test --stage staging",
    ),
    "wrong answer": (
        seen(2, (1,), probe=Probe("Failed", "1 of 1 is wrong")),
        "answers wrong",
        "degraded",
        "deploy-model rollback --stage staging --to 1",
    ),
    "ledger damaged": (
        seen(1, ledger=Ledger(), damage=(Damage(3, "00000003.json", "not JSON", "", 3),)),
        "ledger damaged",
        "degraded",
        "deploy-model ledger accept 3 --stage staging --reason",
    ),
    "lock damaged": (
        seen(1, lock_damaged="damaged"),
        "lock damaged",
        "degraded",
        "aws s3 rm s3://bucket/shellfish/deploy/staging/lock.json --region us-east-1",
    ),
    "endpoint denied": (
        seen(1, **GONE, unread={"endpoint": Unread("may not sagemaker:DescribeEndpoint", True)}),
        "cannot be read",
        "unknown",
        "the administrator of the AWS account must allow it: may not sagemaker:",
    ),
    "endpoint not answered": (
        seen(1, **GONE, unread={"endpoint": Unread("no answer", False)}),
        "cannot be read",
        "unknown",
        "deploy-model status --stage staging",
    ),
    "traffic denied": (
        seen(1, unread={"traffic": Unread("may not cloudwatch:GetMetricData", True)}),
        "healthy",
        "healthy",
        "deploy-model test --stage staging",
    ),
    "too few instances": (
        seen(
            1,
            endpoint=endpoint(
                evidence(1).candidate.name,
                ProductionVariants=[
                    {"VariantName": "All", "CurrentInstanceCount": 1, "DesiredInstanceCount": 2}
                ],
            ),
        ),
        "too few instances",
        "degraded",
        "deploy-model status --stage staging --watch",
    ),
}


@pytest.mark.parametrize("about, state, verdict, lead", TABLE.values(), ids=TABLE)
def test_what_is_seen_decides_the_state_and_the_command(about, state, verdict, lead):
    judged = judge(about)
    assert (judged.state, judged.verdict) == (state, verdict), judged.headline
    assert (judged.advice.command or judged.advice.who).startswith(lead), judged.advice
    assert "\n" not in judged.headline


def test_every_rule_has_a_row():
    states = {found.state for about, *_ in TABLE.values() for found in findings(about)}
    recognised = {rule.__name__ for rule in RULES for about, *_ in TABLE.values() if rule(about)}
    assert recognised == {rule.__name__ for rule in RULES}
    assert {state for _, state, *_ in TABLE.values()} <= states


def test_nobody_is_sent_in_a_circle_by_more_than_five_people():
    people = {judge(about).advice.who.partition(" must")[0] for about, *_ in TABLE.values()}
    assert len(people - {""}) <= 5, people


def test_metrics_before_the_last_change_do_not_count():
    assert begin(NOW, NOW.replace(hour=13)) == NOW.replace(hour=12, minute=55)
    assert begin(NOW.replace(microsecond=1), NOW) == NOW.replace(second=1)
    asked = queries("e", ["All"], NOW, NOW)["MetricDataQueries"]
    assert [query["MetricStat"]["Stat"] for query in asked] == ["Sum", "Sum", "p50", "p99"]
    before = NOW.replace(hour=11)
    results = [
        {"Id": "requests_0", "Timestamps": [NOW, before], "Values": [8.0, 100.0]},
        {"Id": "errors_0", "Timestamps": [NOW, before], "Values": [2.0, 100.0]},
        {"Id": "p99_0", "Timestamps": [NOW], "Values": [1500.0]},
    ]
    [found] = traffic(["All"], results, NOW)
    assert found == Traffic("All", 8.0, 2.0, None, 1.5) and found.error_rate == 0.25
    assert traffic(["All"], [], NOW) == (Traffic("All", None, None, None, None),)
