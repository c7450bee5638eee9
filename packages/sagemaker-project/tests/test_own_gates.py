"""Gates of a project's own, and that a promotion is look, gates, plan, execute."""

import json

from deploy_helpers import changing, refused
from sagemaker_emulator import testing
from sagemaker_project.deploy import Evidence, Refused

GATES = """def closed_today(evidence):
    raise deploy.Refused(f"{evidence.target.stage} is closed today")
GATES = (closed_today,)
"""


def test_three_lines_in_deploy_model_py_refuse_a_promotion(make_project, place):
    """In a generated project, by its own command."""
    project = make_project()
    script = project.path / "deploy/deploy_model.py"
    before, after = script.read_text().split("GATES = ()\n")
    script.write_text(before + GATES + after)
    words = place.arguments("promote", "--model-package-arn", place.register())
    ended = project.run("deploy-model", *words, env=place.environment)
    assert ended.returncode == 3, ended.stderr
    assert json.loads(ended.stdout)["Message"] == "staging is closed today"
    assert place.live() is None


def test_a_gate_of_its_own_is_asked_last_and_stops_a_promotion(place):
    asked = []

    def not_today(evidence: Evidence) -> None:
        asked.append(evidence.candidate.version)
        raise Refused("the shop is closed today")

    place.gates = (not_today,)
    unapproved = place.register(approve=False)
    refused(*place.logged("promote", "--model-package-arn", unapproved), "approve it first")
    assert asked == []
    arn = place.register(factor=3)
    refused(*place.logged("promote", "--model-package-arn", arn), "the shop is closed today")
    refused(*place.logged("plan", "--model-package-arn", arn), "the shop is closed today")
    assert asked == [2, 2]
    place.gates = ()
    assert place.deploy("promote", "--model-package-arn", arn)["ExitCode"] == 0
    place.gates = (not_today,)  # not asked about what serves already
    assert place.deploy("promote", "--model-package-arn", arn)["Outcome"] == "Unchanged"


def test_what_another_command_deploys_before_the_lock_is_taken_is_unchanged(place):
    arn = place.register()

    def overtaken(_):
        place.gates = ()
        other = place.deploy("promote", "--model-package-arn", arn)
        assert other["Outcome"] == "Promoted", other

    place.gates = (overtaken,)
    result = place.deploy("promote", "--model-package-arn", arn)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Unchanged"), result
    assert result["Calls"] == []
    kinds = [entry["Kind"] for entry in place.deploy("history")["Entries"]]
    assert kinds == ["Started", "Promoted"]


def test_nothing_is_read_between_the_last_look_and_the_first_step(place):
    """The gates are asked once before the lock is taken, and once holding it."""
    place.deploy("promote", "--model-package-arn", place.register())
    calls_before_gates = []

    def count(_):
        calls_before_gates.append(len(testing.calls(place.cloud.local)))

    place.gates = (count,)
    arn = place.register(factor=3)
    result, calls = place.logged("promote", "--model-package-arn", arn)
    assert result["ExitCode"] == 0, result
    first, second = calls_before_gates
    looked, locked, looked_again, rest = (
        calls[:first],
        calls[first],
        calls[first + 1 : second],
        calls[second:],
    )
    assert changing(looked) == changing(looked_again) == []
    assert locked["operation"] == "PutObject" and locked["request"].endswith("/lock.json")
    assert rest[0]["operation"] == "PutObject" and "/ledger/" in str(rest[0]["request"])
    # The second look reads what the first one read, but for the model, whose bytes are the same.
    once = {"ListModelPackages", "BatchGetImage"}
    read = [{call["operation"] for call in calls} - once for calls in (looked, looked_again)]
    assert read[0] - {"GetCallerIdentity"} == read[1]
