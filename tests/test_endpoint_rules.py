"""One table of what SageMaker allows for an endpoint: the same in both packages and on the page.

After a change of the emulator's endpoint_rules.json or endpoint_rules.py:

    .venv/bin/pytest tests/test_endpoint_rules.py --update-golden

copies them to sagemaker-project and writes the table of docs/settings.md anew.
"""

import json
import re
from pathlib import Path

import pytest
from sagemaker_emulator.hosting.endpoint_rules import RULES

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[1]
OURS = ROOT / "packages/sagemaker-emulator/src/sagemaker_emulator/hosting"
COPY = ROOT / "packages/sagemaker-project/src/sagemaker_project/deploy"
PAGE = COPY.parent / "docs/settings.md"
TABLE = re.compile(r"\| What \| Allowed \| .*?\n(?=## )", re.DOTALL)
HOW = "run: .venv/bin/pytest tests/test_endpoint_rules.py --update-golden"


@pytest.fixture
def update(request):
    return request.config.getoption("--update-golden")


@pytest.mark.parametrize("name", ["endpoint_rules.json", "endpoint_rules.py"])
def test_both_packages_have_the_same_rules(name, update):
    if update:
        (COPY / name).write_bytes((OURS / name).read_bytes())
    assert (COPY / name).read_bytes() == (OURS / name).read_bytes(), HOW


def test_the_page_has_every_rule(update):
    page = PAGE.read_text()
    wanted = TABLE.sub(lambda _: table(), page)
    if update:
        PAGE.write_text(wanted)
        page = wanted
    assert TABLE.search(page) and page == wanted, HOW


def table():
    sources = json.loads((OURS / "endpoint_rules.json").read_text())["sources"]
    names = {source["url"]: name for name, source in sources.items()}
    rows = ["| What | Allowed | Why | Source |", "|---|---|---|---|"]
    for rule in RULES.values():
        why = rule.refusal + (f". Not verified: {rule.unverified}" if rule.unverified else "")
        source = f"[{rule.source.name}][{names[rule.source.url]}]"
        rows.append(f"| {rule.about} | {'yes' if rule.allowed else 'no'} | {why} | {source} |")
    links = [f"[{name}]: {url}" for url, name in names.items()]
    return "\n".join([*rows, "", *links, "", ""])


def test_every_rule_is_checked_and_has_a_page_of_aws():
    checks = {"CreateEndpointConfig", "UpdateEndpoint", "settings", "live endpoint"}
    for rule in RULES.values():
        assert rule.checked_by and set(rule.checked_by) <= checks, rule.id
        assert rule.source.url.startswith("https://docs.aws.amazon.com/sagemaker/latest/")
        assert rule.allowed or rule.advice, rule.id
