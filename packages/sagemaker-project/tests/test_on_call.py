"""The page on call: each row's state is made, and `status` must say and recommend what it says."""

import re
import shlex

import pytest
from deploy_helpers import some
from on_call_helpers import STATES, status, typed
from sagemaker_project import pages

ROW = re.compile(r"^\| ([a-z ]+?) \| `(.+?)` \| (.+?) \|$", re.MULTILINE)
ROWS = {state: (see, type) for state, see, type in ROW.findall(pages.text("on-call"))}


OFTEN = ("ledger damaged", "interrupted", "changed by hand", "approval withdrawn", "healthy")


@pytest.mark.fast
def test_the_page_is_of_one_screen():
    lines = pages.text("on-call").splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80


@pytest.mark.fast
def test_every_state_has_a_row_and_every_row_a_state():
    import inspect

    from sagemaker_project.deploy import recommendation

    source = inspect.getsource(recommendation)
    known = set(re.findall(r'Finding\(\s*"([a-z ]+)"', source))
    assert known == set(ROWS) == set(STATES)


@pytest.mark.parametrize("state", some(list(STATES), *OFTEN))
def test_status_says_what_the_page_says(place, state):
    see, type = ROWS[state]
    STATES[state](place)
    result = status(place, state)
    assert result["State"] == state, result["Message"]
    assert see in result["Message"]
    command = re.match(r"`([^`]+)`", type)
    if command:
        words = shlex.split(result["Next"])
        assert set(command[1].split()) <= set(words), result["Next"]
        assert words[0] in ("deploy-model", "aws")
    for flag in re.findall(r"with `(--[a-z-]+)`", type):
        assert flag in result["Next"]
    assert result["Next"] or result["Who"]
    assert (
        result["ExitCode"]
        == {"healthy": 0, "degraded": 1, "unknown": 4, "down": 5}[result["Verdict"]]
    )


FOLLOWED = (
    *("interrupted", "endpoint deleted", "first creation failed", "nothing deployed"),
    *("configuration deleted", "weights changed by hand", "changed by hand"),
)


@pytest.mark.parametrize("state", some(FOLLOWED))
def test_what_status_recommends_leads_to_a_healthy_endpoint(place, state):
    STATES[state](place)
    for _ in range(3):
        found = status(place)
        if found["State"] == "healthy":
            break
        result = typed(place, found["Next"])
        assert result is None or result["ExitCode"] == 0, result
    found = status(place)
    assert (found["State"], found["Verdict"], found["ExitCode"]) == ("healthy", "healthy", 0)
    assert found["Outcome"] == "InService" and found["Drift"] == []
