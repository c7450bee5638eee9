"""The schema of a table: of its columns, its label, and how its rows are split."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sagemaker_project.errors import UsageError
from sagemaker_project.inspect_data import columns, labels, leaks
from sagemaker_project.inspect_data.dates import iso
from sagemaker_project.inspect_data.findings import Answer, Cells, Doubt, Finding, Options, Sample
from sagemaker_project.inspect_data.labels import Label
from sagemaker_project.inspect_data.numbers import numbers_of
from sagemaker_project.inspect_data.sources import all_counts
from sagemaker_project.tabular.cells import BadCell, parser
from sagemaker_project.tabular.schema import MISSING, Field
from sagemaker_project.usage import near

SEED = 42
FACETS, GROUPS = 5, 10  # columns to report groups by, and groups in each, at most
TRAIN, VALIDATION = 0.70, 0.85  # of the rows of a split by time


@dataclass(frozen=True)
class Result:
    """What was found out about a table; `content` is that of its schema.json."""

    sample: Sample
    findings: tuple[Finding, ...]
    label: Label
    content: Mapping[str, Any]
    doubts: tuple[Doubt, ...]  # with answers
    notes: tuple[Doubt, ...]  # without


def inspect(source: Path, sample: Sample, options: Options) -> Result:
    """Decide what a table is.

    Raises:
        UsageError: no model can be made of it, or an option does not fit it.
    """
    _check_names(sample, options)
    decimal = sample.file.decimal
    [cells] = (one for one in sample.columns if one.name == options.label)
    label = labels.inspect(cells, decimal, options)
    findings = tuple(
        label.finding
        if one is cells
        else _without_leak(
            one, columns.inspect(one, decimal, options), cells, label, decimal, options
        )
        for one in sample.columns
    )
    if not any(one.role == "feature" for one in findings):
        raise UsageError(
            "no column is left as a feature: all are ids, constants or texts;"
            " pass --type COLUMN=TYPE for one that a model may use"
        )
    every = [doubt for one in findings for doubt in one.doubts]
    return Result(
        sample=sample,
        findings=findings,
        label=label,
        content=_content(source, sample, findings, label, options),
        doubts=tuple(doubt for doubt in every if doubt.answers),
        notes=(*sample.notes, *(doubt for doubt in every if not doubt.answers)),
    )


def _check_names(sample: Sample, options: Options) -> None:
    """Raise UsageError where an option names a column that is not there, or the label."""
    names = [one.name for one in sample.columns]
    asked = {
        "--id": options.ids,
        "--ignore": options.ignored,
        "--group": options.group,
        "--time": (options.time,) if options.time else (),
        "--type": tuple(options.types),
    }
    for flag, listed in asked.items():
        for name in listed:
            if name not in names:
                raise UsageError(f"{flag} {name!r}: there is no such column. {near(name, names)}")
            if name == options.label and flag != "--type":
                raise UsageError(f"{flag} {name!r}: is the label")
    if options.group and options.time:
        raise UsageError("--group and --time: a split goes by one of them")


def _without_leak(
    cells: Cells,
    found: Finding,
    label_cells: Cells,
    label: Label,
    decimal: str,
    options: Options,
) -> Finding:
    """Leave out a column that gives the label away, unless the user has decided about it."""
    decided = {*options.types, *options.ids, *options.ignored, *options.group, options.time}
    if found.role != "feature" or cells.name in decided:
        return found
    if not _gives_away(cells, found, label_cells, label, decimal):
        return found
    text = f"column {cells.name}: gives the label away: is it known before the label is?"
    type_ = f"{found.type}:{found.format}" if found.format else found.type
    answers = (
        Answer("no, leave it out", "--ignore", cells.name),
        Answer("yes, use it", "--type", f"{cells.name}={type_}"),
    )
    reason = f"gives the label away ({found.reason})"
    return replace(found, role="ignored", reason=reason, doubts=(Doubt(text, answers),))


def _gives_away(
    cells: Cells, found: Finding, label_cells: Cells, label: Label, decimal: str
) -> bool:
    if leaks.gives_away(cells.texts, label_cells.texts, label.problem):
        return True
    values = _values(cells, found, decimal)
    texts = [text.strip() for text in leaks.some(label_cells.texts)]
    if label.problem != "regression":
        pairs = [(n, text) for n, text in zip(values, texts, strict=True) if n == n and text]
        return leaks.numbers_give_away([n for n, _ in pairs], [text for _, text in pairs])
    wanted = _values(label_cells, label.finding, decimal)
    both = [(n, y) for n, y in zip(values, wanted, strict=True) if n == n and y == y]
    return leaks.orders([n for n, _ in both], [y for _, y in both])


def _values(cells: Cells, found: Finding, decimal: str) -> list[float]:
    """Return the numbers of the cells that are looked at, NaN for those that are none."""
    some = [text.strip() for text in leaks.some(cells.texts)]
    if found.type in ("number", "integer"):
        numbers = numbers_of(cells, decimal).of
        return [numbers.get(text, math.nan) for text in some]
    if found.type == "string":
        return [math.nan] * len(some)
    parse = parser(_field(found))
    return [_number(parse, text) for text in some]


def _number(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except BadCell:
        return math.nan


def _content(
    source: Path,
    sample: Sample,
    findings: Sequence[Finding],
    label: Label,
    options: Options,
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "fields": [_described(one) for one in findings],
        "missingValues": list(MISSING),
        "label": label.finding.name,
        "problem": label.problem,
    }
    if label.positive:
        content["positive"] = label.positive
    bound = "at_least" if label.more_is_better else "at_most"
    content["metric"] = {"name": label.metric, bound: label.threshold}
    content["facets"] = _facets(sample, findings)
    content["split"] = _split(source, sample, findings, options)
    content["file"] = _file(sample)
    return content


def _described(found: Finding) -> dict[str, Any]:
    """Return a field as schema.json has it: only what differs from the default."""
    field: dict[str, Any] = {"name": found.name, "type": found.type}
    if found.role not in ("feature", "label"):
        field["role"] = found.role
    if found.format:
        field["format"] = found.format
    if found.missing or found.kept:
        kept = {word.lower() for word in found.kept}
        usual = [word for word in MISSING if word not in kept]
        field["missingValues"] = list(dict.fromkeys([*usual, *found.missing]))
    if found.values and found.type == "string":
        field["constraints"] = {"enum": list(found.values)}
    return field


def _field(found: Finding) -> Field:
    return Field(
        found.name,
        found.type,
        format=found.format,
        missing=frozenset({*MISSING, *found.missing} - {word.lower() for word in found.kept}),
    )


def _facets(sample: Sample, findings: Sequence[Finding]) -> list[str]:
    """Return the columns of a few groups, those of the fewest first."""
    sizes = {one.name: len(one.counts) for one in sample.columns}
    small = [
        one.name
        for one in findings
        if one.role == "feature"
        and one.type in ("string", "boolean")
        and 2 <= sizes[one.name] <= GROUPS
    ]
    kept = sorted(small, key=lambda name: sizes[name])[:FACETS]
    return [name for name in small if name in kept]


def _split(
    source: Path, sample: Sample, findings: Sequence[Finding], options: Options
) -> dict[str, Any]:
    if options.time:
        return _time_split(source, sample, findings, options.time)
    if options.group:
        return {"seed": SEED, "group": list(options.group)}
    by = [one.name for one in findings if one.role in ("feature", "label")]
    return {"seed": SEED, "by": by}


def _time_split(
    source: Path, sample: Sample, findings: Sequence[Finding], name: str
) -> dict[str, Any]:
    """Return the two dates that have 70 and 85 % of the rows before them."""
    found = next(one for one in findings if one.name == name)
    if found.type not in ("date", "datetime") or found.role == "ignored":
        raise UsageError(f"--time {name!r}: is no column of dates: {found.reason}")
    read = parser(_field(found))
    try:
        pairs = [(read(text), rows) for text, rows in all_counts(source, sample, name).items()]
    except BadCell as error:
        raise UsageError(f"--time {name!r}: a cell {error}; repair or remove its row") from None
    values = [value for value, rows in sorted(pairs) if value == value for _ in range(rows)]
    days = found.type == "date"
    validation, test = (values[int(share * len(values))] for share in (TRAIN, VALIDATION))
    if days:
        validation, test = math.floor(validation), math.floor(test)
    if not values[0] < validation < test:
        raise UsageError(f"--time {name!r}: has too few dates for three splits")
    return {
        "seed": SEED,
        "time": name,
        "validationFrom": iso(validation, found.type),
        "testFrom": iso(test, found.type),
    }


def _file(sample: Sample) -> dict[str, Any]:
    file = sample.file
    if file.format == "parquet":
        return {"format": "parquet"}
    content: dict[str, Any] = {"format": "csv"}
    if file.compression:
        content["compression"] = file.compression
    content |= {"encoding": file.encoding, "delimiter": file.delimiter}
    if file.decimal != ".":
        content["decimal"] = file.decimal
    return {**content, "header": file.header}
