"""Gates as tables: pure functions of an Evidence that was never read from AWS."""

import contextlib
import copy
from dataclasses import replace
from datetime import timedelta

import pytest
from evidence_helpers import (
    ALARMED,
    ANN,
    GUARDED,
    NOW,
    OURS,
    SERVERLESS,
    arn,
    beside,
    deployed,
    endpoint,
    entries,
    evidence,
    existing,
    interrupted,
    metrics,
    never_served,
    package,
    pin,
    request,
    serving,
    target,
    then,
)
from sagemaker_project.deploy.evidence import Artifact, Document, Staged
from sagemaker_project.deploy.gates import GATES, check
from sagemaker_project.deploy.promotion import plan_promotion
from sagemaker_project.errors import (
    AwsError,
    Busy,
    NeedsHuman,
    ProjectError,
    Refused,
    UsageError,
)

pytestmark = pytest.mark.fast

REPORT = b"{}"
DIGEST = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def entry_of_a_test(version=2, **changes):
    about = {
        "ModelPackageArn": arn(version),
        "ConfigHash": "hash",
        "Status": "Passed",
        "ReportUri": "s3://bucket/report.json",
        "ReportSha256": DIGEST,
        "Pins": [pin(version)],
        "Images": [],
    }
    return about | changes


def staged(report=REPORT, ledger=(), **changes):
    document = Document("s3://bucket/report.json", report)
    return {"staged": Staged(entries(*ledger), "hash", entry_of_a_test(**changes), document)}


def used(kind, **members):
    """A ledger in which the approval of version 2 was used, and how that ended."""
    begun = {"Action": "promote", "Deployment": deployed(2)}
    return {"ledger": entries(("Started", begun), (kind, begun | members))}


NAME = evidence().candidate.name
MODEL = evidence().candidate.models[0]["ModelName"]
CLASSES = {
    "binary_classification_metrics": {
        "auc": {"value": 0.9, "standard_deviation": 0.01},
        "confusion_matrix": {"no": {"no": 5, "yes": 1}, "yes": {"no": 0, "yes": 4}},
        "receiver_operating_characteristic_curve": {"false_positive_rates": [0.0, 1.0]},
        "precision_recall_curve": {"precisions": [1.0, 0.4]},
    }
}
TABLES_ALONE = {"multiclass_classification_metrics": {"confusion_matrix": {"a": {"a": 5}}}}
OTHER_METRICS = {"regression_metrics": {"mse": {"value": float("nan")}}}
DIRTY = {"GitCommit": "0123456789abcdef-dirty"}
ACCEPTED = {"AcceptedUncommitted": True}
EARLIER = NOW - timedelta(days=1)
QUOTED = {"Image": "image", "ModelDataUrl": "s3://bucket/2", "ModelDataETag": '"e"'}
SSO = "AWSReservedSSO_dev_0123456789abcdef"
TWO_PEOPLE = target(Approval={"MaxAgeDays": 30, "RequireTwoPeople": True})
TWICE_GUARDED = target(
    DeploymentConfig=ALARMED
    | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": n} for n in ("errors", "latency")]}}
)
NO_DATA = {"errors": {"StateValue": "INSUFFICIENT_DATA", "Period": 0}}


def by(role, session):
    """The UserContext of a person who has assumed a role."""
    person = f"arn:aws:sts::123456789012:assumed-role/{role}/{session}"
    return {"IamIdentity": {"Arn": person}}


def weight(number):
    """Changes of an Evidence: version 1 serves, with this weight."""
    variant = {"VariantName": "All", "DesiredWeight": number, "DesiredInstanceCount": 1}
    name = evidence(1).candidate.name
    return serving(1, endpoint=endpoint(name, ProductionVariants=[variant]))


def restored(number):
    """Changes of an Evidence: a rollback to version 1 restored this weight."""
    before = {"EndpointConfigName": evidence(1).candidate.name, "Variants": []}
    before["Variants"].append({"VariantName": "All", "Weight": number, "InstanceCount": 1})
    leaves = deployed(2) | {"Before": before}
    promoted = [("Promoted", {"Action": "promote", "Deployment": d}) for d in (deployed(1), leaves)]
    ended = ("RolledBack", {"Action": "rollback", "Deployment": deployed(1), "Leaves": leaves})
    return weight(number) | {"ledger": entries(*promoted, ended)}


def begun_now():
    """Changes of an Evidence: a promotion of version 2 with --now was killed as it began."""
    begun = {"Action": "promote", "Deployment": deployed(2, deployed(1)), "Now": True}
    return then(serving(1), ("Started", begun | {"Reason": "prod is down"}))


REFUSED = {
    "not approved": (evidence(of=package(ModelApprovalStatus="Rejected")), Refused, "is Rejected"),
    "incomplete": (evidence(of=package(ModelPackageStatus="Failed")), Refused, "status is Failed"),
    "of another group": (
        evidence(of=package(ModelPackageGroupName="other")),
        Refused,
        "of the group other",
    ),
    "beside one that is not approved": (
        beside(ModelApprovalStatus="Rejected"),
        Refused,
        "/1 is Rejected",
    ),
    "no metrics": (evidence(metrics=None), Refused, "has no metrics"),
    "metrics are gone": (evidence(metrics=Document("s3://b/m", None)), Refused, "are gone"),
    "nested too deeply": (
        evidence(metrics=Document("s3://b/m", b"[" * 100_000)),
        Refused,
        "nested too deeply",
    ),
    "true is no number": (
        evidence(metrics=metrics({"regression_metrics": {"mse": {"value": True}}})),
        Refused,
        "mse.value is True",
    ),
    "no JSON": (evidence(metrics=Document("s3://b/m", b"{")), Refused, "is not JSON"),
    "no number": (evidence(metrics=metrics(OTHER_METRICS)), Refused, "mse.value is nan"),
    "a huge number": (
        evidence(metrics=metrics({"regression_metrics": {"mse": {"value": 10**400}}})),
        Refused,
        "wanted a finite number",
    ),
    "no metric": (evidence(metrics=metrics({})), Refused, "it has no metric"),
    "tables alone": (evidence(metrics=metrics(TABLES_ALONE)), Refused, "it has no metric"),
    "a bad model": (
        evidence(artifacts={arn(): Artifact(problem="it holds no model")}),
        Refused,
        "holds no model",
    ),
    "bytes written again": (
        evidence(artifacts={arn(): Artifact(pin(ETag="f"))}),
        Refused,
        "written again",
    ),
    "another model of this name": (
        evidence(models={MODEL: {"ModelName": MODEL}}),
        AwsError,
        "exists with other content",
    ),
    "another model of this name serves": (
        evidence(**serving(2, models={MODEL: {"ModelName": MODEL}})),
        AwsError,
        "Leave it, it serves",
    ),
    "other bytes in the stage's copy": (
        evidence(copies={pin()["ServedUrl"]: "x" * 64}),
        Refused,
        f"its sha256 is x+, .* checked is 0+2.*aws s3 rm {pin()['ServedUrl']}",
    ),
    "another configuration of this name serves": (
        evidence(**serving(2, endpoint_configs={NAME: {"EndpointConfigName": NAME}})),
        AwsError,
        "Leave it, it serves",
    ),
    "an endpoint of another group": (
        replace(
            evidence(of=package(ModelPackageGroupName="other"), **serving(1)),
            target=replace(target(), group="other"),
        ),
        Refused,
        "needs an endpoint of its own",
    ),
    "busy": (evidence(endpoint=endpoint("x", "Updating")), Busy, "is busy: Updating"),
    "failed": (evidence(endpoint=endpoint("x", "Failed")), NeedsHuman, "delete-endpoint"),
    "failed when another version was promoted first": (
        evidence(3, **never_served()),
        NeedsHuman,
        "deploy-model rollback --stage prod, then deploy-model promote",
    ),
    "out of service, and nothing ever served": (
        evidence(endpoint=endpoint("x", "OutOfService")),
        NeedsHuman,
        "delete-endpoint",
    ),
    "could not be rolled back": (
        evidence(**serving(1) | {"endpoint": endpoint("x", "UpdateRollbackFailed")}),
        NeedsHuman,
        "update-endpoint --endpoint-name shellfish-prod",
    ),
    "changed by hand": (
        evidence(**serving(1) | {"endpoint": endpoint("by-hand")}),
        Refused,
        "--accept-drift",
    ),
    "of somebody else, with --accept-drift": (
        evidence(
            request=request(accept_drift=True),
            tags=OURS | {"sagemaker:deployment-stage": "other"},
            endpoint=endpoint("by-hand", EndpointArn="arn"),
        ),
        Refused,
        "was not made by deploy-model: the ledger does not know by-hand",
    ),
    "a weight changed by hand": (
        evidence(**weight(0.5)),
        Refused,
        "the weight of All is 0.5, the ledger says 1",
    ),
    "its configuration was deleted": (
        evidence(**serving(1) | {"endpoint_config": None}),
        NeedsHuman,
        "was deleted",
    ),
    "an old approval": (evidence(now=NOW + timedelta(days=31)), Refused, "MaxAgeDays"),
    "approved by its author": (
        evidence(where=TWO_PEOPLE, of=package(LastModifiedBy={"IamIdentity": {"Arn": ANN}})),
        Refused,
        "needs the approval of another person",
    ),
    "approved, it is not known by whom": (
        evidence(where=TWO_PEOPLE, of=package(LastModifiedBy=None, CreationTime=EARLIER)),
        Refused,
        "who approved it is unknown",
    ),
    "approved in another session of the same role": (
        evidence(
            where=TWO_PEOPLE,
            of=package(CreatedBy=by("dev", "ann"), LastModifiedBy=by("dev", "ben")),
        ),
        Refused,
        "may be the same person",
    ),
    "failed under this approval": (evidence(**used("Failed")), Refused, "failed here"),
    "failed under this approval, for a reason that names what served then": (
        evidence(**used("Failed", Reason="SageMaker rolled back to a-v2, which serves: errors")),
        Refused,
        r"failed here on .* \(SageMaker rolled back to a-v2: errors\)",
    ),
    "rolled back under this approval": (
        evidence(
            ledger=entries(
                *[("Promoted", {"Action": "promote", "Deployment": deployed(n)}) for n in (1, 2)],
                (
                    "RolledBack",
                    {"Action": "rollback", "Deployment": deployed(1), "Leaves": deployed(2)},
                ),
            )
        ),
        Refused,
        "was rolled back",
    ),
    "older than what serves": (
        evidence(1, **serving(2)),
        Refused,
        "older than version 2, which serves: deploy it all the same: .*/1 --retry",
    ),
    "older than what serves, which may be rolled back": (
        evidence(1, **serving(2, (1,))),
        Refused,
        "go back with deploy-model rollback --stage prod --to 1, or",
    ),
    "changes that no commit has": (
        evidence(of=package(CustomerMetadataProperties=DIRTY)),
        Refused,
        "run the pipeline again, or pass --accept-uncommitted",
    ),
    "changes that no commit has, beside the version": (
        beside(CustomerMetadataProperties=DIRTY),
        Refused,
        arn(1),
    ),
    "no requests": (evidence(samples=Document("s3://b/s", None)), Refused, "no sample requests"),
    "requests that are none": (evidence(samples=Document("s3://b/s", b"[]")), Refused, "s3://b/s"),
    "not tested": (evidence(staged=Staged(entries(), "hash")), Refused, "was not tested"),
    "not tested with these settings": (
        evidence(staged=Staged(entries(("Tested", {"Test": entry_of_a_test()})), "other")),
        Refused,
        "settings as they are now",
    ),
    "failed its test": (evidence(**staged(Status="Failed")), Refused, "is Failed"),
    "its report is gone": (evidence(**staged(report=None)), Refused, "is gone"),
    "its report was changed": (evidence(**staged(report=b"[]")), Refused, "not what the test"),
    "other bytes than were tested": (
        evidence(**staged(Pins=[pin(Sha256="t")])),
        Refused,
        "Sha256 is 0+2, the staging test ran with t",
    ),
    "beside one that was never tested": (evidence(**staged(Pins=[])), Refused, "never passed"),
    "instances that would become serverless": (
        evidence(where=target(ProductionVariants=[SERVERLESS]), **serving(1)),
        UsageError,
        "prod-config.json: an endpoint of instances cannot become serverless: keep instances",
    ),
    "no such alarm": (
        evidence(where=GUARDED, **serving(1)),
        UsageError,
        "errors is not a metric alarm.*/2 --now --reason WHY",
    ),
    "an alarm without data": (
        evidence(where=GUARDED, **serving(1, alarms=NO_DATA)),
        Refused,
        "no data to judge by",
    ),
    "an alarm without data, and one that waiting does not help": (
        evidence(where=TWICE_GUARDED, **serving(1, alarms=NO_DATA)),
        UsageError,
        "latency is not a metric alarm",
    ),
}


@pytest.mark.parametrize("found, error, message", REFUSED.values(), ids=REFUSED)
def test_a_gate_refuses(found, error, message):
    with pytest.raises(error, match=message) as refusal:
        check(GATES, found)
    assert type(refusal.value) is error and "\n" not in str(refusal.value)


IN_A_HURRY = {"now": True, "reason": "prod is down"}
ABOUT_ALARMS = {name for name in REFUSED if "alarm" in name}


@pytest.mark.parametrize("name", REFUSED)
def test_now_passes_over_the_alarms_and_over_no_other_gate(name):
    found, error, message = REFUSED[name]
    found = replace(found, request=replace(found.request, **IN_A_HURRY))
    if name in ABOUT_ALARMS:
        return check(GATES, found)
    with pytest.raises(error, match=message):
        check(GATES, found)


ALLOWED = {
    "a first version": evidence(),
    "the next version": evidence(**serving(1)),
    "what was tested": evidence(**staged()),
    "metrics of classes, with tables and curves": evidence(metrics=metrics(CLASSES)),
    "drift that is accepted": evidence(
        request=request(accept_drift=True), **serving(1) | {"endpoint": endpoint("by-hand")}
    ),
    "an unknown commit": evidence(of=package(CustomerMetadataProperties={"GitCommit": "unknown"})),
    "uncommitted changes, before the last stage": evidence(
        where=replace(target(), config=replace(target().config, last=False)),
        of=package(CustomerMetadataProperties=DIRTY),
    ),
    "uncommitted changes that the settings allow": evidence(
        where=target(AllowUncommitted=True), of=package(CustomerMetadataProperties=DIRTY)
    ),
    "uncommitted changes that are accepted": evidence(
        request=request(accept_uncommitted=True), of=package(CustomerMetadataProperties=DIRTY)
    ),
    "uncommitted changes that were accepted by the run that is resumed": evidence(
        of=package(CustomerMetadataProperties=DIRTY),
        ledger=entries(
            ("Started", {"Action": "promote", "Deployment": deployed(2) | ACCEPTED}),
        ),
    ),
    "a retry": evidence(request=request(retry=True), **used("Failed")),
    "an older version, on purpose": evidence(1, request=request(retry=True), **serving(2)),
    "an older version, where nothing serves": evidence(
        1, **serving(2, endpoint=None, endpoint_config=None)
    ),
    "what served, where the endpoint was deleted": evidence(
        **serving(2, (1,), endpoint=None, endpoint_config=None), **existing(2)
    ),
    "one whose update is in progress, whatever became of the alarms": evidence(
        where=GUARDED, **interrupted(endpoint=endpoint("x", "Updating")), **existing(2)
    ),
    "one that goes on with --now of the run before": evidence(
        where=GUARDED, **begun_now(), **existing(2)
    ),
    "what serves already, whatever its age": evidence(
        now=NOW + timedelta(days=99), **serving(2), **existing(2)
    ),
    "a configuration that was deleted, made again": evidence(
        **serving(2, endpoint_config=None), models=existing(2)["models"]
    ),
    "weights that a rollback restored": evidence(3, **restored(0.5)),
    "a first version that could not be created": evidence(**never_served()),
    "a plan of a promotion that goes on": evidence(
        request=request(command="plan"), **interrupted(endpoint=endpoint("x", "Updating"))
    ),
    "one that SageMaker rolled back unseen, to be recorded": evidence(
        samples=None,
        **interrupted(
            endpoint=endpoint(
                evidence(1).candidate.name,
                LastModifiedTime=NOW + timedelta(seconds=1),
                FailureReason="errors is in ALARM",
            )
        ),
    ),
    "beside one that passed a test of its own": replace(
        beside(),
        **staged(
            ledger=[("Tested", {"Test": entry_of_a_test(1)})],
        ),
    ),
    "what AWS quotes": evidence(of=package(InferenceSpecification={"Containers": [QUOTED]})),
    "a first version, whose alarms do not exist yet": evidence(where=GUARDED),
    "two people": evidence(where=TWO_PEOPLE),
    "two people who log in by IAM Identity Center": evidence(
        where=TWO_PEOPLE,
        of=package(CreatedBy=by(SSO, "ann"), LastModifiedBy=by(SSO, "ben")),
    ),
}


@pytest.mark.parametrize("found", ALLOWED.values(), ids=ALLOWED)
def test_no_gate_refuses(found):
    check(GATES, found)


def test_gates_and_plans_write_nothing_into_the_evidence():
    for found in (*(row[0] for row in REFUSED.values()), *ALLOWED.values()):
        before = copy.deepcopy(found)
        with contextlib.suppress(ProjectError):
            check(GATES, found)
            plan_promotion(found)
        assert found == before


def test_every_gate_has_a_case():
    """Each of GATES refuses at least one row of the table that all gates before it let pass."""
    refusing = set()
    for found, *_ in REFUSED.values():
        for gate in GATES:
            try:
                gate(found)
            except (Refused, AwsError, NeedsHuman, UsageError):
                refusing.add(gate.__name__)
                break
    assert refusing == {gate.__name__ for gate in GATES}
