"""What run-pipeline adds to a report, and the list of all runs."""

import json
import re
from dataclasses import replace

import pytest
import report_helpers
from sagemaker_project.build import reports
from sagemaker_project.build.reports import Run, index, record, with_run
from sagemaker_project.tabular import report
from test_tabular_report import Page

pytestmark = pytest.mark.fast

ARN = "arn:aws:sagemaker:eu-west-1:123456789012"
RUN = Run(
    execution=f"{ARN}:pipeline/houses/execution/abc123",
    pipeline="houses",
    started="2026-03-01T10:20:30.123456+00:00",
    commit="0123456789abcdef0123456789abcdef01234567-dirty",
    package=f"{ARN}:model-package/houses/8",
    passed=True,
    metric="mse",
    value=4.52,
    report="abc123/report.html",
    links={"Model registry": "https://eu-west-1.console.aws.amazon.com/?a=1&b=2"},
)


def test_a_report_is_filled_with_what_only_the_run_knows():
    page = Page(with_run(report.page(report_helpers.regression()), RUN))
    assert page.comments == [" run ", " /run "]
    for text in (
        "0123456789abcdef0123456789abcdef01234567 and changes that were not committed",
        "2026-03-01 10:20:30 UTC",
        RUN.execution,
        RUN.package,
        "Model registry",
    ):
        assert text in page.text
    assert ("a", {"href": RUN.links["Model registry"]}) in page.tags
    assert "earlier run" not in page.text


def test_the_facts_of_an_earlier_run_are_replaced_and_told():
    earlier = with_run(report.page(report_helpers.binary()), RUN)
    later = replace(RUN, execution=f"{ARN}:pipeline/houses/execution/def456", is_reused=True)
    page = with_run(earlier, later)
    assert "abc123" not in page and "def456" in page
    assert "the metrics of an earlier run, reused by step caching" in page
    assert with_run(page, later) == page
    assert page.count("<!-- run -->") == page.count("<!-- /run -->") == 1


def test_only_the_place_changes_and_a_page_without_one_stays_as_it_is():
    before, after = report.page(report_helpers.regression()).split(report.RUN)
    page = with_run(before + report.RUN + after, RUN)
    assert page.startswith(before) and page.endswith(after)
    assert with_run("<p>no place</p>", RUN) == "<p>no place</p>"


def test_what_is_not_known_is_said_and_what_is_hostile_is_escaped():
    hostile = report_helpers.HOSTILE
    run = replace(
        RUN,
        commit=hostile,
        package="",
        links={hostile: "javascript:alert(1)", "x": "http://a/'\">"},
    )
    page = Page(with_run(report.RUN, run))
    assert page.comments == [" run ", " /run "]
    assert [tag for tag, _ in page.tags if tag in ("script", "a")] == ["a"]
    assert "none was registered" in page.text
    listed = Page(index([replace(run, pipeline=hostile, report='a"b/<i>.html', metric=hostile)]))
    assert listed.comments == [] and "script" not in [tag for tag, _ in listed.tags]


def test_the_style_of_a_report_knows_every_class_of_the_facts_of_a_run():
    content = with_run(report.RUN, replace(RUN, is_reused=True)) + index([RUN])
    used = {word for words in re.findall(r'class="([^"]*)"', content) for word in words.split()}
    assert all(f".{word}" in report.STYLE + reports.RUNS_STYLE for word in used)


def runs_of(folder):
    return [one["execution"] for one in json.loads((folder / "runs.json").read_text())]


def test_the_list_has_the_newest_run_first(tmp_path):
    folder = tmp_path / "reports"
    for day in ("02", "03", "01"):
        run = replace(RUN, execution=f"{ARN}:execution/{day}", started=f"2026-03-{day}T00:00:00Z")
        page = record(folder, run)
    assert runs_of(folder) == [f"{ARN}:execution/{day}" for day in ("03", "02", "01")]
    assert page == folder / "index.html"
    text = Page(page.read_text()).text
    assert text.index("2026-03-03") < text.index("2026-03-02") < text.index("2026-03-01")
    assert "3 runs" in text and "MSE 4.520" in text and "✓ registered" in text and "dirty" in text


def test_a_run_is_listed_once_as_it_was_last(tmp_path):
    record(tmp_path, replace(RUN, package="", passed=None))
    record(tmp_path, RUN)
    assert runs_of(tmp_path) == [RUN.execution]
    assert "✓ registered" in (tmp_path / "index.html").read_text()


def test_verdicts_of_the_list():
    def verdict(**changes):
        return Page(index([replace(RUN, package="", passed=None, **changes)])).text

    assert "not registered" in verdict()
    assert "✗ stopped" in verdict(status="Stopped")
    assert "✗ refused" in Page(index([replace(RUN, package="", passed=False)])).text
    assert "There are no runs yet" in Page(index([])).text


def test_a_link_leads_to_a_report_that_is_there(tmp_path):
    page = record(tmp_path, RUN).read_text()
    assert "href" not in page
    (tmp_path / "abc123").mkdir()
    (tmp_path / "abc123" / "report.html").write_text("")
    assert 'href="abc123/report.html"' in record(tmp_path, RUN).read_text()
    outside = replace(RUN, report="../secret.html")
    (tmp_path.parent / "secret.html").write_text("")
    assert "secret" not in record(tmp_path, outside).read_text()


def test_the_list_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "MAX_RUNS", 3)
    for i in range(5):
        record(tmp_path, replace(RUN, execution=f"{ARN}:execution/{i}", started=f"2026-0{i + 1}"))
    assert runs_of(tmp_path) == [f"{ARN}:execution/{i}" for i in (4, 3, 2)]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"{}", b"7", b"[" * 100_000])
def test_a_damaged_list_is_set_aside(tmp_path, content):
    (tmp_path / "runs.json").write_bytes(content)
    record(tmp_path, RUN)
    assert runs_of(tmp_path) == [RUN.execution]
    assert (tmp_path / "runs.damaged.json").read_bytes() == content


def test_entries_that_are_no_runs_are_left_out(tmp_path):
    record(tmp_path, RUN)
    [good] = json.loads((tmp_path / "runs.json").read_text())
    bad = [None, 7, {}, {**good, "value": "4"}, {**good, "links": {"a": 1}}, {"execution": "x"}]
    newer = {**good, "execution": "later", "a member of a later version": 1}
    (tmp_path / "runs.json").write_text(json.dumps([*bad, good, newer]))
    record(tmp_path, replace(RUN, execution="new", started="2027-01-01T00:00:00Z"))
    assert runs_of(tmp_path) == ["new", RUN.execution, "later"]


def test_nothing_but_the_two_files_is_left(tmp_path):
    record(tmp_path, RUN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "runs.json"]
