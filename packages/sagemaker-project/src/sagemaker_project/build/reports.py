"""The reports of runs on this machine: what a report cannot know by itself, and a list of them all.

evaluate.py writes a report that follows from model and data alone, with one place, `<!-- run -->`,
for commit, date, execution and package. `with_run` fills it in a copy. Step caching may give a run
the report of an earlier one, with that run's facts in it: they are replaced, and the report then
says that its metrics are those of an earlier run.

`record` keeps `runs.json` in the folder of the reports, the newest run first, and `index.html`
made of it. A runs.json that cannot be read is set aside, never a reason to fail: it is a
convenience, and how a run ended is in SageMaker.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from sagemaker_project.tabular.report_html import code, escape, metric_name, number, prose
from sagemaker_project.tabular.report_style import STYLE

MAX_RUNS = 500  # in runs.json
PLACE = re.compile(r"<!-- run -->(?:.*?<!-- /run -->)?", re.DOTALL)
DIRTY = "-dirty"
REUSED = "the metrics of an earlier run, reused by step caching"
HEADS = ("verdict", "metric", "pipeline", "started", "commit", "package", "execution")
RUNS_STYLE = """
main { max-width: 1240px } h1 { margin-bottom: 24px } td { white-space: nowrap }
td.words { white-space: normal }
@media (max-width: 560px) { thead { display: none } tbody tr { display: flex; flex-wrap: wrap;
  gap: 2px 14px; padding: 10px 0; border-bottom: 1px solid var(--line) }
  tbody tr:last-child { border: 0 } td:empty { display: none }
  td, tbody tr > td:last-child { padding: 0; border: 0 } }
"""
TEXT = (str,)
KINDS: dict[str, tuple[type, ...]] = {  # of the members of an entry of runs.json
    **dict.fromkeys(("execution", "pipeline", "started", "status", "commit", "package"), TEXT),
    **dict.fromkeys(("metric", "report"), TEXT),
    **{"passed": (bool, type(None)), "value": (float, int, type(None)), "is_reused": (bool,)},
    "links": (dict,),
}


@dataclass(frozen=True)
class Run:
    """What run-pipeline knows of a run.

    `started` is in ISO 8601, UTC. `commit` is as provenance.git_commit() returns it. `passed` is
    None where no gate has decided. `report` is the path of the report, relative to index.html.
    `links` are URLs by the name that is shown.
    """

    execution: str  # ARN
    pipeline: str
    started: str
    status: str = "Succeeded"
    commit: str = "unknown"
    package: str = ""  # ARN, if one was registered
    passed: bool | None = None
    metric: str = ""
    value: float | None = None
    is_reused: bool = False  # the evaluation is that of an earlier run
    report: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


# A report


def with_run(page: str, run: Run) -> str:
    """Return a report with the facts of a run; unchanged if it has no place for them."""
    items = "".join(f"<dt>{title}</dt><dd>{value}</dd>" for title, value in _facts(run))
    block = f'<!-- run --><div class="card"><dl>{items}</dl></div><!-- /run -->'
    return PLACE.sub(lambda _: block, page, count=1)


def _facts(run: Run) -> Iterable[tuple[str, str]]:
    if run.is_reused:
        yield "Metrics", f'<span class="tag">{REUSED}</span>'
    yield "Commit", _commit(run.commit)
    yield "Started", _moment(run.started)
    yield "Execution", code(run.execution)
    yield "Package", code(run.package) if run.package else "none was registered"
    links = [_link(url, title) for title, url in run.links.items()]
    if links:
        yield "Links", ", ".join(links)


def _commit(commit: str) -> str:
    shown = str(code(commit.removesuffix(DIRTY)))
    if commit.endswith(DIRTY):
        shown += ' <span class="tag">and changes that were not committed</span>'
    return shown


def _moment(text: str) -> str:
    shown = re.sub(r"T(\d\d:\d\d:\d\d)(?:\.\d+)?", r" \1", text)
    return escape(re.sub(r"(?:\+00:00|Z)$", " UTC", shown))


def _link(url: str, title: str) -> str:
    """Return a link, or the title alone if the URL is not one of the web."""
    if not re.match(r"https?://", url):
        return escape(title)
    return f'<a href="{escape(url)}">{escape(title)}</a>'


# All runs


def index(runs: Sequence[Run]) -> str:
    """Return the page that lists the runs, in the order given."""
    rows = "".join(map(_row, runs))
    head = "".join(f'<th scope="col">{title}</th>' for title in HEADS)
    content = "<p>There are no runs yet: run-pipeline adds one.</p>"
    if runs:
        content = (
            f'<div class="card"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
            "</table></div>"
        )
    count = f"{len(runs):,} run{'' if len(runs) == 1 else 's'}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Runs</title><style>{STYLE}{RUNS_STYLE}</style></head><body><main>"
        f'<div class="over">Reports on this machine</div><h1>{count}</h1>{content}'
        "</main></body></html>\n"
    )


def _row(run: Run) -> str:
    execution = escape(run.execution)
    short = escape(run.execution.rsplit("/", 1)[-1])
    report = f'<a href="{escape(quote(run.report))}">{short}</a>' if run.report else short
    reused = ' <span class="tag">reused</span>' if run.is_reused else ""
    cells = (
        f"<td>{_verdict(run)}</td>",
        f"<td>{_metric(run)}{reused}</td>",
        f'<td class="words">{prose(run.pipeline)}</td>',
        f"<td>{_moment(run.started)}</td>",
        f"<td>{_short_commit(run.commit)}</td>",
        f"<td>{_version(run.package)}</td>",
        f'<td title="{execution}">{report}</td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def _verdict(run: Run) -> str:
    if run.package:
        return '<span class="good">✓ registered</span>'
    if run.passed is False:
        return '<span class="bad">✗ refused</span>'
    if run.status != "Succeeded":
        return f'<span class="bad">✗ {escape(run.status.lower())}</span>'
    return '<span class="soft">not registered</span>'


def _metric(run: Run) -> str:
    return f"{escape(metric_name(run.metric))} {number(run.value)}" if run.metric else ""


def _short_commit(commit: str) -> str:
    dirty = ' <span class="tag">dirty</span>' if commit.endswith(DIRTY) else ""
    return f"<code>{escape(commit.removesuffix(DIRTY)[:8])}</code>{dirty}"


def _version(package: str) -> str:
    """Return the version of a package's ARN, which is its last part."""
    if not package:
        return ""
    return f'<span title="{escape(package)}">version {escape(package.rsplit("/", 1)[-1])}</span>'


def record(folder: Path, run: Run) -> Path:
    """Add a run to the list in `folder`, or replace it there; return the path of index.html."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "runs.json"
    others = [one for one in _read(path) if one.execution != run.execution]
    runs = sorted([run, *others], key=lambda one: one.started, reverse=True)[:MAX_RUNS]
    _write(path, json.dumps([_content(one) for one in runs], indent=1) + "\n")
    page = folder / "index.html"
    _write(page, index([_without_lost_report(one, folder) for one in runs]))
    return page


def _content(run: Run) -> dict[str, object]:
    return {**asdict(run), "links": dict(run.links)}


def _read(path: Path) -> list[Run]:
    """Return the runs of a runs.json; entries that are not runs are left out.

    A file that is not a list of JSON is renamed to runs.damaged.json.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, list):
            raise ValueError
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError):
        os.replace(path, path.with_name("runs.damaged.json"))
        return []
    return [run for run in map(_run, content) if run]


def _run(content: object) -> Run | None:
    """Return the run of an entry, None if it is none; members that are not known are ignored."""
    if not isinstance(content, dict):
        return None
    known = {key: value for key, value in content.items() if key in KINDS}
    if not all(isinstance(value, KINDS[key]) for key, value in known.items()):
        return None
    links = known.get("links", {})
    if not all(isinstance(text, str) for text in links.values()):
        return None
    try:
        return Run(**known)
    except TypeError:  # a member is missing
        return None


def _without_lost_report(run: Run, folder: Path) -> Run:
    """Return the run without a link to a report that was deleted or lies elsewhere."""
    inside = (folder / run.report).resolve()
    is_there = run.report and inside.is_relative_to(folder.resolve()) and inside.is_file()
    return run if is_there else replace(run, report="")


def _write(path: Path, text: str) -> None:
    """Write a file at once, so that one who reads it never sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
