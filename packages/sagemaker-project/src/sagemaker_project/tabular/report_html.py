"""Words, numbers and tables of the evaluation report as HTML. Every text is escaped here."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from numbers import Real

LONGEST = 44  # characters of a name that is shown in full
HASH = re.compile(r"(?:[0-9a-f]{16}){2,8}")
BREAK = re.compile(r"([_\-./:])(?=[^\W\d_])")  # not in a number, a date or a version
MEANINGS = {
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "share of variance explained",
    "auc": "area under the ROC curve",
    "accuracy": "share of right answers",
    "balanced_accuracy": "mean recall of the classes",
    "f1": "harmonic mean of precision and recall",
    "macro_f1": "mean F1 of the classes",
    "precision": "of those predicted positive",
    "recall": "of those that are positive",
    "log_loss": "mean negative log likelihood",
}
SPOKEN = {
    **{"mse": "MSE", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "auc": "AUC"},
    "au_prc": "area under the PR curve",
}
F_SCORE = re.compile(r"\bf(\d)(?: (\d))?$")


class Markup(str):
    """Text that is HTML already."""


def escape(value: object) -> str:
    return value if isinstance(value, Markup) else html.escape(str(value))


def name(text: object, longest: int = LONGEST) -> Markup:
    """Return a name that may break after its punctuation, shortened in the middle if it is long.

    The whole name is then its title, which a browser shows under the pointer.
    """
    whole = str(text)
    shown = prose(shortened(whole, longest)) or "(empty)"
    if len(whole) > longest:
        return Markup(f'<span title="{html.escape(whole)}">{shown}</span>')
    return Markup(shown)


def prose(text: object) -> Markup:
    """Return a text of any length whose names may break after their punctuation."""
    return Markup(BREAK.sub(r"\1<wbr>", html.escape(str(text))))


def shortened(text: str, length: int) -> str:
    """Return the text, or its beginning and end with … between, `length` characters in all."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def code(value: object) -> Markup:
    """Return an identifier; it may break after its punctuation, a hash after 16 digits."""
    text = str(value)
    shown = "<wbr>".join(re.findall(".{16}", text)) if HASH.fullmatch(text) else prose(text)
    return Markup(f"<code>{shown}</code>")


def metric_name(metric: str) -> str:
    """Return the name of a metric as people write it, such as F0.5 for f0_5."""
    words = SPOKEN.get(metric, metric.replace("_", " "))
    return F_SCORE.sub(lambda found: "F" + ".".join(filter(None, found.groups())), words)


def number(value: float | None) -> str:
    """Return a number with three decimals or fewer, a whole one in full; – for none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size and not 1e-4 <= size < 1e9:
        return exponent(f"{value:.3e}")
    if size >= 1e4 or value == int(value):
        return f"{value:,.0f}"
    if size < 0.01:
        return f"{value:.2g}"
    return f"{value:,.{1 if size >= 100 else 2 if size >= 10 else 3}f}"


def spread(deviation: float | None) -> str:
    """Return ± and a standard deviation; nothing for none."""
    if deviation is None:
        return ""
    return f"± {deviation:.2g}" if 1e-4 <= abs(deviation) < 100 else f"± {number(deviation)}"


def exponent(text: str) -> str:
    """Return 1.5e7 for Python's 1.500e+07."""
    digits, _, power = text.partition("e")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{digits}e{int(power)}"


def cell(value: object) -> Markup:
    """Return a cell of a table: numbers to the right, names where they may break."""
    if isinstance(value, Markup) and value.startswith("<td"):
        return value
    if value is None or isinstance(value, Real):
        shown = number(None if value is None else float(value))
        return Markup(f'<td class="n">{shown}</td>')
    return Markup(f"<td>{value if isinstance(value, Markup) else name(value)}</td>")


def bar(share: float) -> Markup:
    """Return a cell with a bar, as wide as this share of the cell."""
    width = min(max(share if math.isfinite(share) else 0.0, 0.0), 1.0)
    inside = f'<i style="width:{width:.1%}"></i>' if width else ""
    return Markup(f'<td class="bar">{inside}</td>')


def table(header: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "") -> str:
    """Return a table in a card; a column with numbers in its first row is aligned to the right."""
    lines = [[cell(value) for value in row] for row in rows]
    right = [one.startswith('<td class="n"') for one in lines[0]]
    heads = "".join(
        f'<th scope="col"{NUMERIC if numeric else ""}>{escape(title)}</th>'
        for title, numeric in zip(header, right, strict=True)
    )
    body = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return (
        f'<div class="card"><table class="{kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


NUMERIC = ' class="n"'


def facts_card(pairs: Iterable[tuple[str, object]]) -> str:
    items = "".join(f"<dt>{name(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs)
    return f'<div class="card"><dl>{items}</dl></div>'


def figure(title: str, plot: str, caption: str) -> str:
    return (
        f'<div class="card"><h3>{escape(title)}</h3>{plot}'
        f'<div class="soft">{prose(caption)}</div></div>'
    )


def pair(parts: Iterable[str]) -> str:
    """Return cards side by side, below each other where the page is narrow."""
    return f'<div class="pair">{"".join(parts)}</div>'


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return the key of a plot, of (class of the line, name, value)."""
    items = "".join(
        f'<li><svg viewBox="0 0 26 8" aria-hidden="true"><line class="curve {kind}" x1="0" y1="4" '
        f'x2="26" y2="4"/></svg>{name(text)} <b>{escape(value)}</b></li>'
        for kind, text, value in entries
    )
    return f'<ul class="legend">{items}</ul>'


def folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
