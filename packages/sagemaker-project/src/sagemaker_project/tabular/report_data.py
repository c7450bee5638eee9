"""The data in the evaluation report: rows, warnings, and each column in the three splits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from sagemaker_project.tabular.report_html import (
    Markup,
    escape,
    folded,
    legend,
    name,
    number,
    prose,
    table,
)
from sagemaker_project.tabular.report_svg import finite
from sagemaker_project.tabular.table import Floats

SPLITS = ("train", "validation", "test")
TOP_COLUMNS = 12  # shown; the others are folded
MAX_CATEGORIES = 6
MUCH_DRIFT = 0.25
EXPLAINED = (
    "As shares of each split; the first and last bin hold what is beyond them too. Drift is the "
    "population stability index of validation or test against train: by custom, below 0.1 they "
    "are alike, and above 0.25 they differ. The largest first."
)
WIDTH, HEIGHT = 240.0, 84.0
KINDS = {"train": "c0", "validation": "c2", "test": "c1"}


def section(data: Mapping[str, Any]) -> str:
    """Return what preprocessing read, dropped and warned of, and how the splits compare."""
    rows, splits = data["rows"], data["splits"]
    counts = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    items = "".join(f"<li>{prose(note)}</li>" for note in _notes(data))
    return (
        f"<h2>Data</h2><p>{rows['read']:,} rows read, {rows['dropped']:,} dropped; "
        f"{escape(counts)}.</p>"
        + (f'<ul class="notes">{items}</ul>' if items else "")
        + _columns(data["columns"])
    )


def _notes(data: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("dropped", "suspicious"):
        for note in data.get(kind, ()):
            count = note["count"]
            rows = "row" if count == 1 else "rows"
            where = ", ".join(_where(example) for example in note["examples"])
            yield f"{count:,} {rows} {kind}: {note['column']} {note['reason']} ({where})"
    yield from data.get("warnings", ())


def _where(example: Mapping[str, Any]) -> str:
    line = f"line {example['line']}"
    return f"{example['file']} {line}" if example.get("file") else line


def _columns(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a card for each column, those first whose splits differ most, and a table of all."""
    drawn = {key: about for key, about in columns.items() if about.get("histogram")}
    ordered = sorted(drawn, key=lambda key: -(drawn[key].get("drift") or 0.0))
    cards = [_card(key, drawn[key]) for key in ordered]
    parts = []
    if cards:
        key = legend((KINDS[split], split, "") for split in SPLITS)
        parts.append(
            f'<h3>Columns in the three splits</h3><p class="soft">{EXPLAINED}</p>{key}'
            f'<div class="columns">{"".join(cards[:TOP_COLUMNS])}</div>'
        )
    if rest := cards[TOP_COLUMNS:]:
        more = f'<div class="columns">{"".join(rest)}</div>'
        parts.append(folded(f"{len(rest)} columns with less drift", more))
    if columns:
        header = ["column", "type", "missing", "values", "drift"]
        every = table(header, [_row(key, about) for key, about in columns.items()])
        parts.append(every if len(columns) <= 12 else folded(f"All {len(columns)} columns", every))
    return "".join(parts)


def _row(key: str, about: Mapping[str, Any]) -> Sequence[object]:
    return key, _type(about), int(about["missing"]), Markup(_values(about)), about.get("drift")


def _type(about: Mapping[str, Any]) -> str:
    return str(about.get("type", ""))


def _values(about: Mapping[str, Any]) -> str:
    if about.get("categories"):
        pairs = list(about["categories"].items())
        texts = [f"{name(key)} {count:,}" for key, count in pairs[:MAX_CATEGORIES]]
        rest = len(pairs) - MAX_CATEGORIES
        return ", ".join([*texts, f"{rest} more"] if rest > 0 else texts)
    if about.get("minimum") is None:
        return "none"
    low, mean, high = (
        value(about[key], _type(about)).replace("-", "\u2011")  # a date and a sign do not break
        for key in ("minimum", "mean", "maximum")
    )
    return f"{low} to {high}, mean {mean}"


def value(number_: float, type_: str) -> str:
    """Return a number of a column as people read it: a date for days since 1970-01-01."""
    if type_ not in ("date", "datetime"):
        return number(number_)
    try:
        return (date(1970, 1, 1) + timedelta(days=number_)).isoformat()
    except OverflowError:
        return number(number_)


def _card(key: str, about: Mapping[str, Any]) -> str:
    histogram, drift = about["histogram"], about.get("drift")
    shares = {split: _shares(histogram[split]) for split in SPLITS if split in histogram}
    if "edges" in histogram:
        plot = _steps(histogram["edges"], shares, _type(about))
    else:
        names = ("false", "true") if _type(about) == "boolean" else histogram["labels"]
        plot = _categories(names, shares)
    missing = f"; {about['missing']:,} missing" if about["missing"] else ""
    said = f"drift {drift:.3f}" if drift is not None else _type(about)
    if drift is not None and drift > MUCH_DRIFT:
        said = f'<span class="tag">{said}</span>'
    return (
        f'<div class="card"><h3>{name(key, 28)}</h3>{plot}'
        f'<div class="soft">{said}{missing}</div></div>'
    )


def _shares(counts: Sequence[int]) -> Floats:
    values = finite(counts)
    return values / (values.sum() or 1.0)


def _steps(edges: Sequence[float], shares: Mapping[str, Floats], type_: str) -> str:
    """Return histograms over each other: train filled, the two others as outlines."""
    most = max((float(one.max()) for one in shares.values() if len(one)), default=0.0) or 1.0
    marks = []
    for split, heights in shares.items():
        at = np.linspace(0, WIDTH, len(heights) + 1)
        xs, ys = np.repeat(at, 2)[1:-1], np.repeat(HEIGHT - 2 - heights / most * (HEIGHT - 6), 2)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        if split == "train":
            floor = f"{HEIGHT:.0f}"
            marks.append(
                f'<polygon class="train" points="0,{floor} {points} {WIDTH:.0f},{floor}"/>'
            )
        else:
            marks.append(f'<polyline class="curve {KINDS[split]}" points="{points}"/>')
    half = 0.5 if edges[1] - edges[0] == 1 and edges[0] % 1 == 0.5 else 0.0  # whole numbers
    low, high = value(edges[0] + half, type_), value(edges[-1] - half, type_)
    return (
        f'<svg class="small" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" '
        f'role="img" aria-label="Histogram">{"".join(marks)}</svg>'
        f'<div class="ends"><span>{low}</span><span>{high}</span></div>'
    )


def _categories(labels: Sequence[str], shares: Mapping[str, Floats]) -> str:
    """Return a line for each category with a bar for each split, the rarest as one without bars."""
    shown = len(labels) if len(labels) <= MAX_CATEGORIES else MAX_CATEGORIES - 1
    most = max((float(one[:shown].max()) for one in shares.values() if len(one)), default=0.0)
    lines = [
        _category(str(labels[i]), {key: float(one[i]) for key, one in shares.items()}, most or 1.0)
        for i in range(shown)
    ]
    if shown < len(labels):
        rest = ", ".join(f"{one[shown:].sum():.0%}" for one in shares.values())
        lines.append(f'<div class="category">all others {rest}</div>')
    return "".join(lines)


def _category(label: str, shares: Mapping[str, float], most: float) -> str:
    bars = "".join(
        f'<rect class="{KINDS[split]}fill" x="0" y="{1 + 4 * i}" height="3" '
        f'width="{WIDTH * share / most:.1f}"/>'
        for i, (split, share) in enumerate(shares.items())
    )
    return (
        f'<div class="category">{name(label, 24)}'
        f'<svg viewBox="0 0 {WIDTH:.0f} 13" preserveAspectRatio="none" aria-hidden="true">'
        f"{bars}</svg></div>"
    )
