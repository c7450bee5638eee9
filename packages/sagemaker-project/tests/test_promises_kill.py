"""Whatever ends a command, and wherever: the same command run again gets to the same end."""

import signal

import pytest
from boundary_helpers import (
    CLIENTS,
    changes,
    deny,
    forget_policies,
    kill,
    ledger_of,
    locked,
    nameless,
    needed,
    run,
    state,
    stop,
    unlock,
)
from deploy_helpers import BUCKET, Place, artifact

pytestmark = pytest.mark.first

ONE = [{"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
SCALED = [
    {
        "VariantName": "All",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "AutoScaling": {"MinCapacity": 1, "MaxCapacity": 4, "TargetValue": 100},
    }
]


@pytest.fixture(autouse=True)
def few_clients(monkeypatch, deploy_project):
    CLIENTS.install(monkeypatch)


class Scene:
    """Commands that lead from one state to another, and their results without an interruption."""

    codes = (0,)
    body = None  # of the artifact that is promoted; None: that of a good model
    known_before = None  # the operation before whose first call all is as in another scene

    def __init__(self):
        self.begin = state(self.place)
        self.goal, self.boundaries, self.known = {}, {}, {}
        for name, words in self.commands.items():
            ended = run(self.place, words)
            assert ended.result["ExitCode"] in self.codes, ended.result
            self.goal[name] = self.seen()
            self.boundaries[name], self.known[name] = ended.boundaries, set()

    def seen(self):
        return state(self.place)

    def numbers(self, name):
        """Of the boundaries of a command."""
        first = self.boundaries[name].index(self.known_before) if self.known_before else 0
        return list(range(first + 1, len(self.boundaries[name]) + 1))

    def numbers_of_kinds(self, name):
        """The first of each operation that changes something."""
        boundaries = self.boundaries[name]
        kinds = {boundaries[number - 1]: number for number in reversed(self.numbers(name))}
        return sorted(number for operation, number in kinds.items() if changes(operation))

    def numbers_of_changes(self, name):
        """And of the reads behind the second change: until then there is only a lock."""
        boundaries = self.boundaries[name]
        numbers = [n for n, operation in enumerate(boundaries, start=1) if changes(operation)]
        return [numbers[0], *range(numbers[1], len(boundaries) + 1)]

    def cut_everywhere(self, act, check, go_on, numbers=None):
        """Cut the commands at one boundary after the other, and go on from what that leaves.

        Where it leaves all as it was, or with a lock besides, and that has been gone on from once,
        the command is cut at the next one at once.
        """
        left = {name: (numbers or self.numbers)(name) for name in self.commands}
        while any(left.values()):
            self.rewind()
            for name in self.commands:
                where = self.cut_until_it_matters(name, left[name], act, check)
                go_on(name, where)

    def cut_until_it_matters(self, name, left, act, check):
        before, where = state(self.place), name
        while left:
            number = left.pop(0)
            where = f"{name}, at {number} ({self.boundaries[name][number - 1]})"
            check(run(self.place, self.commands[name], at=number, act=act), where)
            after, lock = state(self.place), locked(self.place)
            if after | {"kinds": None} != before | {"kinds": None}:
                break
            left_there = (lock, *after["kinds"][len(before["kinds"]) :])
            if left_there not in self.known[name]:
                self.known[name].add(left_there)
                break
            if lock:
                unlock(self.place)
            if after["kinds"] != before["kinds"]:
                self.forget_entries(len(before["kinds"]))
        return where

    def forget_entries(self, kept):
        self.place.forget_head()
        for number in range(kept + 1, len(ledger_of(self.place).entries) + 1):
            key = f"{self.place.name}/deploy/staging/ledger/{number:08d}.json"
            self.place.s3.delete_object(Bucket=BUCKET, Key=key)

    def finish(self, name, where, *more):
        result = self.place.deploy(*self.commands[name], *more)
        assert result["ExitCode"] in self.codes, f"{where}: {result}"

    def finish_as_ever(self, name, where):
        self.finish(name, where)
        assert self.seen() == self.goal[name], where


class First(Scene):
    """The first deployment of a project, another one each time."""

    def __init__(self, place):
        place.settings("staging", ProductionVariants=SCALED)
        self.old = place
        self.rewind()
        super().__init__()

    def rewind(self):
        old = self.old
        self.place = Place(old.cloud, old.project, old.environment, old.workdir)
        arn = self.place.register(body=self.body)
        self.commands = {"promote": ("promote", "--model-package-arn", arn)}

    def seen(self):
        return nameless(self.place, state(self.place))


class Round(Scene):
    """Version 1 serves; version 2 is promoted, rolled back and cleaned up: the same again.

    The settings of version 2 differ so that each kind of call is made: autoscaling is registered
    and deregistered, and the instance count of version 1 is restored.
    """

    names = ("promote", "rollback", "cleanup")

    def __init__(self, place):
        self.place = place
        place.settings("staging", ProductionVariants=ONE)
        first, second = place.register(factor=2), place.register(factor=3, body=self.body)
        assert place.deploy("promote", "--model-package-arn", first)["ExitCode"] == 0
        counts = [{"VariantName": "All", "DesiredInstanceCount": 2}]
        place.sm.update_endpoint_weights_and_capacities(
            EndpointName=f"{place.name}-staging", DesiredWeightsAndCapacities=counts
        )
        place.settled()
        place.settings("staging", ProductionVariants=SCALED)
        commands = {"promote": ("promote", "--model-package-arn", second)}
        self.commands = {name: commands.get(name, (name,)) for name in self.names}
        self.entries = len(ledger_of(place).entries)
        super().__init__()

    def rewind(self):
        """The ledger as it was before the round; all the rest is so by itself."""
        self.forget_entries(self.entries)
        unlock(self.place)
        forget_policies(self.place)
        assert state(self.place) == self.begin


class Broken:
    """Its new version does not answer: what is promoted is taken back."""

    codes = (1, 0, 3)  # 3: it had been taken back, and is not tried again under this approval
    body = artifact(broken=True)
    known_before = "InvokeEndpoint"


class BrokenFirst(Broken, First):
    pass


class BrokenRound(Broken, Round):
    names = ("promote", "cleanup")

    def numbers(self, name):
        return [] if name == "cleanup" else super().numbers(name)


def killed(ended, where):
    assert ended.signal == signal.SIGKILL, where


def test_p8_killed_at_a_call_of_each_kind_and_run_again_ends_the_same(place):
    scene = Round(place)
    scene.cut_everywhere(kill, killed, scene.finish_as_ever, scene.numbers_of_kinds)


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", [First, Round, BrokenFirst, BrokenRound])
def test_p8_killed_at_any_call_and_run_again_ends_the_same(place, scene):
    scene = scene(place)
    scene.cut_everywhere(kill, killed, scene.finish_as_ever)


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", [First, Round])
def test_p10_a_refused_call_leaves_nothing_that_the_ledger_does_not_know(place, scene):
    """Each is refused that changes something, or comes after such a one; clean-up then deletes
    exactly what is not in use, and what serves has its autoscaling."""
    scene = scene(place)

    def refused(ended, where):
        result, here = ended.result, scene.place
        if result["ExitCode"] == 0:  # the lock expires if it cannot be deleted
            assert where.endswith("(DeleteObject)"), where
            return
        assert result["ExitCode"] == (1 if "Invoke" in where else 5), f"{where}: {result}"
        assert "not authorized to perform" in result["Message"]
        known = {name for names in ledger_of(here).created() for name in names}
        assert set(here.resources()) <= known | {f"{here.name}-staging"}, where
        found = state(here)
        if found["pending"] is None and "AddTags" not in where:  # that comes after the end
            assert found["scaling"] == ([[1, 4]] if here.version() == 2 else []), where
        if not ended.changed:
            return
        cleaned = here.deploy("cleanup")
        assert cleaned["ExitCode"] == 0, f"{where}: {cleaned}"
        must, may = needed(here)
        assert must <= set(here.resources()) <= may, where

    def go_on(name, where):
        scene.finish(name, where, *(["--retry"] if name == "promote" else []))

    scene.cut_everywhere(deny, refused, go_on, scene.numbers_of_changes)


def test_p36_interrupted_once_it_says_so_and_goes_on_when_run_again(place):
    """While SageMaker creates the endpoint."""
    words = ("promote", "--model-package-arn", place.register())
    ended = run(place, words, at="CreateEndpoint", act=stop, behind=True)
    assert ended.result["ExitCode"] in (130, 143), ended.result
    assert "run the same command again to go on" in ended.result["Message"]
    assert not locked(place) and place.deploy(*words)["Outcome"] == "Promoted"
    assert [entry["Kind"] for entry in place.entries()] == ["Started", "Promoted"]


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", [First, Round])
def test_p36_interrupted_at_any_call_says_so_and_goes_on_when_run_again(place, scene):
    """Stopped again and again, each time a call later, it comes to the end that it ever does.

    In front of a read as by Ctrl-C, behind the answer to a change as CodeBuild stops a build.
    """
    scene = scene(place)
    scene.rewind()
    for name, words in scene.commands.items():
        stopped = set()
        while True:
            ended = run(scene.place, words, at=stopped, act=stop, behind=True)
            if ended.result["ExitCode"] == 0:
                break
            assert ended.result["ExitCode"] in (130, 143), ended.result
            assert ended.result["Outcome"] == "Interrupted"
            assert "run the same command again to go on" in ended.result["Message"]
            assert not ended.numbered <= stopped
            stopped = stopped | ended.numbered
        assert scene.seen() == scene.goal[name]
        operations = {call.partition(" ")[0] for call, _ in stopped}
        # The tag of an entry is not written where the run is stopped behind the entry.
        assert operations >= set(scene.boundaries[name]) - {"AddTags"}, name


def test_p22_autoscaling_that_a_killed_promotion_took_away_comes_back(place):
    """It changes the instances, so autoscaling lets go of the variant before the update."""
    place.settings("staging", ProductionVariants=SCALED)
    assert place.deploy("promote", "--model-package-arn", place.register())["ExitCode"] == 0
    before = state(place)
    other = [{**SCALED[0], "InstanceType": "ml.m5.xlarge"}]
    place.settings("staging", ProductionVariants=other)
    words = ("promote", "--model-package-arn", place.register(factor=3))
    assert run(place, words, at="UpdateEndpoint", act=kill).signal == signal.SIGKILL
    assert state(place)["scaling"] == []
    result = place.deploy("rollback")
    assert result["ExitCode"] == 0 and place.answer("1") == [2.0], result
    for name in ("endpoint", "variants", "scaling", "stack", "pending"):
        assert state(place)[name] == before[name], name


def killed_and_taken_back(place):
    """Kill a promotion after its UpdateEndpoint, which then fails; return the package's ARN."""
    assert place.deploy("promote", "--model-package-arn", place.register(2))["ExitCode"] == 0
    arn = place.register(3, body=artifact(inference="import no_such_module"))
    words = ("promote", "--model-package-arn", arn)
    ended = run(place, words, at="UpdateEndpoint", act=kill, behind=True)
    assert ended.signal == signal.SIGKILL
    assert place.settled()["FailureReason"]
    return arn


def test_p7_what_was_taken_back_after_a_kill_has_failed_and_is_not_tried_again(place):
    arn, reason = killed_and_taken_back(place), place.endpoint()["FailureReason"]
    planned = place.deploy("plan", "--model-package-arn", arn)["Calls"]
    assert [call["Operation"] for call in planned] == [
        *("PutObject", "PutObject", "AddTags", "DeleteObject")
    ]
    result, calls = place.logged("promote", "--model-package-arn", arn)
    assert result["ExitCode"] == 1, result
    assert "rolled back" in result["Message"] and reason in result["Message"]
    made = {call["operation"] for call in calls if changes(call["operation"])}
    assert made == {"PutObject", "AddTags", "DeleteObject"}
    last = place.entries()[-1]
    assert (last["Kind"], last["Reason"]) == ("Failed", result["Message"])
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 3


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_p7_another_command_enters_why_the_killed_one_was_taken_back(place, command):
    killed_and_taken_back(place)
    reason = place.endpoint()["FailureReason"]
    more = ("--model-package-arn", place.register(4)) if command == "promote" else ()
    assert place.deploy(command, *more)["ExitCode"] == 0
    assert [e["Reason"] for e in place.entries() if e["Kind"] == "Failed"] == [reason]


def three_versions(place):
    """The endpoint configurations of three versions, of which clean-up will delete the first."""
    place.settings("staging", ProductionVariants=ONE)
    configs = []
    for factor in (2, 3, 4):
        words = ("promote", "--model-package-arn", place.register(factor))
        assert place.deploy(*words)["ExitCode"] == 0
        configs.append(place.sm.describe_endpoint_config(EndpointConfigName=place.live()))
    return configs


def cleaned_up_while(place, operation, act):
    """A clean-up, with something done by hand right before it looks ahead of a deletion."""
    seen = run(place, ("cleanup",), at=operation, act=kill).boundaries
    unlock(place)
    look = len(seen) - seen[::-1].index("DescribeEndpoint")
    return run(place, ("cleanup",), at=look, act=lambda _: act())


@pytest.mark.parametrize("settled", [True, False])
def test_p11_a_configuration_put_back_by_hand_is_not_deleted(place, settled):
    config = three_versions(place)[0]["EndpointConfigName"]
    before = place.resources()

    def put_back():
        place.sm.update_endpoint(EndpointName=f"{place.name}-staging", EndpointConfigName=config)
        if settled:
            place.settled()

    ended = cleaned_up_while(place, "DeleteEndpointConfig", put_back)
    assert ended.result["ExitCode"] == 4, ended.result
    assert f"{config} has come into service meanwhile" in ended.result["Message"]
    assert place.resources() == before
    place.settled()
    assert place.answer("1") == [2.0]


def test_p11_a_model_that_another_endpoint_serves_is_not_deleted(place):
    variants = three_versions(place)[0]["ProductionVariants"]
    name, model = f"{place.name}-staging", variants[0]["ModelName"]

    def serve():
        place.sm.create_endpoint_config(
            EndpointConfigName=f"{name}-by-hand", ProductionVariants=variants
        )
        place.sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-by-hand")
        place.settled()

    ended = cleaned_up_while(place, "DeleteModel", serve)
    assert ended.result["ExitCode"] == 4, ended.result
    assert f"{model} has come into service meanwhile" in ended.result["Message"]
    assert model in place.resources()
    assert place.answer("1") == [2.0]


@pytest.mark.acceptance
def test_p11_an_artifact_copy_that_a_model_made_by_hand_serves_is_not_deleted(place):
    three_versions(place)
    (model,) = ledger_of(place).entries[0]["Deployment"]["Resources"]["Models"]
    url = model["PrimaryContainer"]["ModelDataUrl"]
    name = f"{place.name}-staging"

    def serve():
        place.sm.create_model(**model | {"ModelName": f"{name}-by-hand"})
        variants = [{**ONE[0], "ModelName": f"{name}-by-hand"}]
        place.sm.create_endpoint_config(
            EndpointConfigName=f"{name}-by-hand", ProductionVariants=variants
        )
        place.sm.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-by-hand")
        place.settled()

    ended = cleaned_up_while(place, "DeleteObject", serve)
    assert ended.result["ExitCode"] == 4, ended.result
    key = url.removeprefix(f"s3://{BUCKET}/")
    assert f"{key} has come into service meanwhile" in ended.result["Message"]
    assert key in place.resources()
    assert place.answer("1") == [2.0]
    (cleaned,) = (entry for entry in place.entries() if entry["Kind"] == "CleanedUp")
    assert cleaned["Deleted"]["Models"] == [model["ModelName"]]
    assert cleaned["Deleted"]["EndpointConfigs"] and not cleaned["Deleted"]["Artifacts"]
    again = place.deploy("cleanup")
    assert (again["ExitCode"], again["Deleted"]) == (0, []), again
    assert key in place.resources()
    assert place.answer("1") == [2.0]
