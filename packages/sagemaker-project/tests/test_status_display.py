"""What `deploy-model status` prints, as a pure function of what was read."""

import io
import re
import sys
from dataclasses import replace

import pytest
from evidence_helpers import arn, endpoint, evidence, package, rolling_back
from sagemaker_project import pages
from sagemaker_project.deploy import display, status_display
from sagemaker_project.deploy.observation import Probe
from sagemaker_project.deploy.status import _together, view
from sagemaker_project.deploy.traffic import Traffic
from sagemaker_project.deploy.verdict import judge
from test_recommendation import pending, prod, seen, staged

pytestmark = pytest.mark.fast
FIRST, SECOND = evidence(1).candidate.name, evidence(2).candidate.name


def result(about):
    return view(about, judge(about))


def rows(about):
    return dict(status_display.rows(result(about)))


def test_of_several_stages_the_worst_comes_first_and_has_the_command(capsys):
    healthy, ill = seen(1), prod(1, staged(1), probe=Probe("Failed", "1 of 1 is wrong"))
    for views in ([healthy, ill], [ill, healthy]):
        both = _together([result(each) for each in views])
        assert both["Message"].startswith(f"{ill.target.endpoint} is degraded: ")
        assert (both["Next"], both["Who"]) == (result(ill)["Next"], result(ill)["Who"])
        display.show("status", both)
        assert capsys.readouterr().out.startswith(result(ill)["Message"])
    down = seen(1, endpoint=endpoint(FIRST, "Failed"))
    both = _together([result(ill), result(down)])
    assert both["Message"].startswith(result(down)["Message"])
    assert both["Next"] == result(down)["Next"]


def test_a_rollback_leads_to_a_version():
    about = seen(2, **rolling_back())
    assert "the rollback to version 1 was interrupted" in judge(about).headline
    assert rows(about)["begun"].startswith("rollback to version 1 at ")
    assert rows(about)["a rollback leads to"].startswith("version 1 ")
    serves = {"endpoint": endpoint(FIRST), "endpoint_config": evidence(1).candidate.endpoint_config}
    done = seen(2, **rolling_back(**serves))
    assert "version 1 serves; the ledger says version 2: the rollback to" in judge(done).headline
    assert "a rollback leads to" not in rows(done)
    assert "the promote of version 2 was interrupted" in judge(pending()).headline


def test_a_ledger_of_the_same_version_is_not_told_apart():
    """A rollback to the same version with other settings, which SageMaker finished."""
    about = seen(2, **rolling_back(endpoint=endpoint(FIRST)))
    begun = about.ledger.entries[-1]
    same = {**begun["Deployment"], "ModelPackageArn": arn(2), "ModelPackageVersion": 2}
    entries = (*about.ledger.entries[:-1], {**begun, "Deployment": same})
    headline = judge(replace(about, ledger=replace(about.ledger, entries=entries))).headline
    assert "the rollback to version 2 was interrupted, and SageMaker finished it" in headline
    assert "the ledger says" not in headline


def test_a_withdrawn_approval_is_told_once():
    about = seen(1, packages={arn(1): package(1, ModelApprovalStatus="Rejected")})
    assert judge(about).headline.endswith("version 1 serves; its package is Rejected now")


@pytest.mark.parametrize("status", ["Passed", "Failed", "Inconclusive"])
def test_the_status_of_a_probe_is_told_once(status):
    about = seen(2, (1,), probe=Probe(status, "8 checks"))
    assert rows(about)["a recorded sample"] == f"{status}: 8 checks"
    assert f"{status}: {status}" not in judge(about).headline
    if status != "Passed":
        assert f"a recorded sample: {status}: 8 checks" in judge(about).headline


def test_errors_and_slowness_are_of_the_requests():
    for traffic in (Traffic("All", 100, 7, 10, 20), Traffic("All", 100, 0, 10, 2460)):
        assert "of the requests to All" in judge(seen(2, (1,), traffic=(traffic,))).headline
    assert "2,460 ms, above 1,000 ms" in judge(seen(2, (1,), traffic=(traffic,))).headline


@pytest.mark.parametrize(
    "value, text", [(2440.4, "2,440"), (12345678, "12,345,678"), (12.34, "12.3"), (0.5, "0.5")]
)
def test_a_latency_is_a_plain_number(value, text):
    variant = {"VariantName": "All", "CurrentWeight": 1.0}
    live = endpoint(SECOND, ProductionVariants=[variant])
    about = seen(2, (1,), endpoint=live, traffic=(Traffic("All", 100, 0, value, None),))
    assert f"p50 {text} ms, p99 unknown" in rows(about)["variant All"]


def test_a_narrow_terminal_folds_what_is_long(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", Terminal())
    display.show("status", result(seen(1)))
    text = sys.stdout.getvalue()
    assert "…" not in text and max(map(len, text.splitlines()[1:-1])) <= 60
    assert arn(1) in "".join(line[line.find(" ") :].strip() for line in text.splitlines())


def test_without_its_bucket_nothing_was_deployed():
    """And a promotion creates none."""
    judged = judge(seen(no_bucket=True, approved=arn(1)))
    assert (judged.state, judged.verdict) == ("nothing deployed", "healthy")
    assert judged.advice.command == "aws s3 mb s3://bucket --region us-east-1"
    assert "must create the bucket bucket" in judged.advice.who
    waiting = judge(seen(no_bucket=True, waiting=arn(1)))
    assert waiting.advice.command.startswith(f"deploy-model approve {arn(1)} ")


def test_of_states_by_hand_each_has_words_of_its_own():
    words = dict(re.findall(r"^\| ([a-z ]+?) \| `(.+?)` \|", pages.text("on-call"), re.MULTILINE))
    weight = {"VariantName": "All", "DesiredWeight": 0.5}
    changed = {**endpoint(SECOND), "EndpointName": "e", "ProductionVariants": [weight]}
    other = seen(2, (1,), endpoint=endpoint("other"))
    moved = seen(2, (1,), endpoint=changed)
    for about, state, not_it in (
        (other, "changed by hand", "weights changed by hand"),
        (moved, "weights changed by hand", "changed by hand"),
    ):
        judged = judge(about)
        assert judged.state == state
        assert words[state] in judged.headline and words[not_it] not in judged.headline
