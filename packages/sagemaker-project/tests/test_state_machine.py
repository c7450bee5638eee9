"""Whatever happens in whatever order: prod serves an approved version or the one before it,
nothing is orphaned, and nothing that serves, is about to or is to be gone back to is deleted.

Hypothesis registers, approves, takes approvals back, breaks models, changes settings, scales by
hand, promotes, rolls back, cleans up, and kills any of these commands at any call. MACHINE_EXAMPLES
in the environment makes it a longer run, with other sequences each time.
"""

import os
from dataclasses import dataclass

import pytest
from boundary_helpers import CLIENTS, kill, ledger_of, needed, run
from deploy_helpers import INFERENCE, Place, artifact
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", 0))
VARIANT = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
AUTO = {"AutoScaling": {"MinCapacity": 1, "MaxCapacity": 2, "TargetValue": 100}}
ALARM = "errors-of-machine"
CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            "WaitIntervalInSeconds": 60,
        }
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ALARM}]},
}
PLAIN = {
    "ProductionVariants": [{"VariantName": "All", **VARIANT}],
    "DeploymentConfig": None,
    "DataCaptureConfig": None,
    "RetainAllVariantProperties": None,
}
SETTINGS = [
    PLAIN,
    PLAIN | {"ProductionVariants": [{"VariantName": "All", **VARIANT, **AUTO}]},
    PLAIN
    | {
        "ProductionVariants": [{"VariantName": "All", **VARIANT, "InitialInstanceCount": 2}],
        "DeploymentConfig": CANARY,
        "RetainAllVariantProperties": True,
    },
    PLAIN
    | {
        "ProductionVariants": [
            {"VariantName": "All", **VARIANT},
            {"VariantName": "Other", **VARIANT, "ModelPackageVersion": 1, **AUTO},
        ]
    },
]
# A model that stops to answer when the file is there that it looks for.
MOODY = INFERENCE.replace('model.get("broken")', "os.path.exists(FLAG)")
TURNS = st.sampled_from(
    ["approve", "approve", "break", "repair", "nothing", "Rejected", "PendingManualApproval"]
)
# The call that a command is killed at; 0: none. Most changes are among the later ones.
CUT = st.just(0) | st.integers(1, 35) | st.integers(20, 35)

EVENTS = st.one_of(  # each as likely as any other
    *[st.tuples(st.just("promote_a_new_version"), TURNS, CUT)] * 4,
    st.tuples(st.just("promote_a_version_again"), st.integers(0, 3), TURNS, CUT),
    *[st.tuples(st.just("roll_back"), CUT)] * 2,
    st.tuples(st.just("clean_up"), CUT),
    st.tuples(
        st.just("change_settings_and_scale"), st.integers(0, len(SETTINGS) - 1), st.integers(1, 2)
    ),
)


@dataclass
class Version:
    arn: str
    flag: object  # the file that makes it fail
    approved: bool = False
    staged: bool = False

    @property
    def number(self):
        return int(self.arn.rpartition("/")[2])

    @property
    def broken(self):
        return self.flag.exists()


class Deployments(RuleBasedStateMachine):
    def __init__(self, place, folder):
        super().__init__()
        self.place, self.folder = place, folder
        place.settings("staging", **PLAIN)
        place.settings("prod", **PLAIN)
        self.made = {}  # {number: Version}
        self.begun = set()  # versions that were approved when their promotion began
        self.killed = False  # whether the last command was

    # What people do

    @rule(event=EVENTS)
    def happens(self, event):
        name, *details = event
        getattr(self, name)(*details)

    @initialize(deployed=st.sampled_from([2, 3, 1, 0]))
    def begin(self, deployed):
        for _ in range(deployed):
            self.promote_a_new_version("approve", 0)

    def register(self):
        flag = self.folder / f"{self.place.name}-{len(self.made) + 1}"
        body = artifact(2 + len(self.made), inference=MOODY.replace("FLAG", repr(str(flag))))
        arn = self.place.register(2 + len(self.made), approve=False, body=body)
        version = Version(arn, flag)
        self.made[version.number] = version
        return version

    def change_settings_and_scale(self, number, count):
        self.place.settings("prod", **SETTINGS[number])
        if not self.live or self.place.endpoint("prod")["EndpointStatus"] != "InService":
            return
        variants = [{"VariantName": "All", "DesiredInstanceCount": count}]
        self.place.sm.update_endpoint_weights_and_capacities(
            EndpointName=f"{self.place.name}-prod", DesiredWeightsAndCapacities=variants
        )
        self.place.settled("prod")

    # What deploy-model does

    def promote_a_new_version(self, first, at):
        self.promote(self.register(), first, at)

    def promote_a_version_again(self, back, first, at):
        if self.made:
            self.promote(self.made[max(1, len(self.made) - back)], first, at)

    def promote(self, version, first, at):
        """Promote, after the version was approved, rejected, broken or repaired."""
        if first != "nothing":
            self.turn(version, "approve")
        self.stage(version)
        self.turn(version, first)
        before, live, approved = self.ledger, self.live, version.approved
        if approved:
            self.begun.add(version.number)
        result = self.command("promote", "--model-package-arn", version.arn, "--retry", at=at)
        if result is None:
            return
        code, message = result["ExitCode"], result["Message"]
        if code == 0:
            assert approved and (result["Outcome"] == "Unchanged" or not version.broken)
            assert self.place.version("prod") == version.number
            assert self.ledger.pending is None
        elif code == 1:
            assert version.broken or self.others_broken, message
            assert self.live == live or before.pending
        elif code == 3 or "canary" in message:  # of one instance, or of other variants
            assert self.live == live
        else:
            self.was_busy(code, message)

    def turn(self, version, what):
        if what == "break":
            version.flag.touch()
        elif what == "repair":
            version.flag.unlink(missing_ok=True)
        elif what != "nothing":
            version.approved = what == "approve"
            self.place.approve(version.arn, "Approved" if version.approved else what)

    def stage(self, version):
        """Staging tested the version, where that can be."""
        if version.staged or not version.approved:
            return
        for words in (("promote", "--model-package-arn", version.arn, "--retry"), ("test",)):
            if self.place.deploy(*words)["ExitCode"] != 0:
                return
        version.staged = True

    def roll_back(self, at):
        before, live = self.ledger, self.live
        result = self.command("rollback", at=at)
        if result is None:
            return
        code, message = result["ExitCode"], result["Message"]
        if code == 0:
            if result["Outcome"] == "Unchanged" or before.pending:
                goal = before.current
            else:
                goal = before.rollback_target
            if before.pending and before.pending["Action"] == "rollback":
                goal = before.pending["Deployment"]
            assert self.live == goal["EndpointConfigName"]
            assert self.ledger.pending is None
        elif code == 3:
            assert before.rollback_target is None, message
            assert self.live == live
        else:
            self.was_busy(code, message)

    def clean_up(self, at):
        must, _ = needed(self.place, "prod")
        result = self.command("cleanup", at=at)
        assert must <= self.resources
        if result is None:
            return
        if result["ExitCode"] == 0:
            _, may = needed(self.place, "prod")
            assert self.resources <= may
        else:
            self.was_busy(result["ExitCode"], result["Message"])

    def command(self, *words, at):
        """The result of a command, None where it was killed."""
        self.may_be_busy = self.killed
        if at:
            ended = run(self.place, words, "prod", at=at, act=kill)
            self.killed = ended.signal is not None
            return ended.result
        self.killed = False
        return self.place.deploy(*words, stage="prod")

    def was_busy(self, code, message):
        assert code == 4 and self.may_be_busy and "is busy" in message, message
        self.place.settled("prod")

    # What is there

    @property
    def ledger(self):
        return ledger_of(self.place, "prod")

    @property
    def live(self):
        return self.place.live("prod")

    @property
    def resources(self):
        own = (f"{self.place.name}-prod", f"{self.place.name}/deploy/prod/")
        return {name for name in self.place.resources() if name.startswith(own)}

    @property
    def others_broken(self):
        return any(version.broken for version in self.made.values())

    # What always holds

    @invariant()
    def nothing_is_orphaned(self):
        known = {name for names in self.ledger.created() for name in names}
        assert self.resources <= known | {f"{self.place.name}-prod"}

    @invariant()
    def nothing_needed_is_deleted(self):
        must, _ = needed(self.place, "prod")
        assert must <= self.resources

    @invariant()
    def prod_serves_an_approved_version_or_the_one_before(self):
        ledger, live = self.ledger, self.live
        serving = [ledger.current]
        if ledger.pending:
            serving += [ledger.pending["Deployment"], ledger.pending.get("Leaves")]
        elif not live:
            assert ledger.current is None
        if live:
            assert live in [d["EndpointConfigName"] for d in serving if d]
            assert self.place.version("prod") in self.begun

    @invariant()
    def what_serves_answers(self):
        ledger = self.ledger
        if ledger.pending or not ledger.current or self.others_broken:
            return
        served = [int(pin["ModelPackageArn"].rpartition("/")[2]) for pin in ledger.current["Pins"]]
        assert self.place.endpoint("prod")["EndpointStatus"] == "InService"
        assert self.place.answer("1", stage="prod") in [[1.0 + number] for number in served]

    def teardown(self):
        """Whatever was killed, broken or left: it can be cleaned up, and gone back from."""
        if self.live:
            self.place.settled("prod")
        for version in self.made.values():
            version.flag.unlink(missing_ok=True)
        for command in (self.clean_up, self.roll_back):
            command(at=0)
            self.nothing_is_orphaned()
            self.nothing_needed_is_deleted()
            self.prod_serves_an_approved_version_or_the_one_before()
            self.what_serves_answers()
        history = self.place.deploy("history", stage="prod")
        assert history["ExitCode"] == 0, history["Message"]


@pytest.fixture(autouse=True)
def few_clients(monkeypatch, deploy_project):
    CLIENTS.install(monkeypatch)


@pytest.mark.acceptance
@pytest.mark.first
def test_prod_serves_what_was_approved_and_nothing_is_orphaned_or_deleted(place, tmp_path):
    place.cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=ALARM,
        Namespace="test",
        MetricName="nothing",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )

    def machine():
        of_its_own = Place(place.cloud, place.project, place.environment, place.workdir)
        return Deployments(of_its_own, tmp_path)

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or 40,
            stateful_step_count=8,
            deadline=None,
            database=None,
            derandomize=not EXAMPLES,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
