"""schema.json: what the data of a pipeline is.

Its words are those of Table Schema (fields, name, type, format, constraints, missingValues), with
what a model needs besides: the label, the problem, the metric that decides, roles, groups to report
by, and the rule of the split. `inspect-data` writes it; a person edits it. A mistake in it is a
`SchemaError` of one line that says where it is and what was wanted.

    {"fields": [{"name": "sex", "type": "string", "constraints": {"enum": ["F", "I", "M"]}},
                {"name": "length", "type": "number", "constraints": {"minimum": 0}},
                {"name": "rings", "type": "integer"}],
     "missingValues": ["", "?", "na"],
     "label": "rings", "problem": "regression", "metric": {"name": "mse", "at_most": 6.0},
     "facets": ["sex"],
     "split": {"seed": 42, "by": ["length", "sex"]},
     "file": {"format": "csv", "encoding": "utf-8", "delimiter": ",", "header": true}}
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

from sagemaker_project.tabular.json_object import JsonObject, SchemaError, shown, unique

__all__ = ["Field", "FileFormat", "Metric", "Schema", "SchemaError", "Split", "read_schema"]

TYPES = ("string", "number", "integer", "boolean", "date", "datetime")
ROLES = ("feature", "label", "id", "ignored")
PROBLEMS = ("regression", "binary", "multiclass")
METRICS = {  # {problem: {metric: whether more is better}}
    "regression": {"mse": False, "rmse": False, "mae": False, "r2": True},
    "binary": {
        **{"auc": True, "accuracy": True, "balanced_accuracy": True, "f1": True},
        **{"precision": True, "recall": True, "log_loss": False},
    },
    "multiclass": {
        **{"auc": True, "accuracy": True, "balanced_accuracy": True, "macro_f1": True},
        **{"log_loss": False},
    },
}
METRIC_GROUPS = {  # of evaluation.json, in SageMaker's Model Quality format
    "regression": "regression_metrics",
    "binary": "binary_classification_metrics",
    "multiclass": "multiclass_classification_metrics",
}
MISSING = ("", "?", "na", "n/a", "nan", "none", "null")  # in any case
TRUE_VALUES = ("true", "yes", "y", "t", "1")
FALSE_VALUES = ("false", "no", "n", "f", "0")
FORMATS = ("csv", "parquet")
DELIMITERS = (",", ";", "\t", "|")
A_MOMENT = datetime(2001, 12, 31, 23, 59, 58, tzinfo=timezone.utc)
ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252")


@dataclass(frozen=True)
class Field:
    """A column: its name, what its cells are, and what it is for.

    `missing` are the texts that mean no value, in lower case and trimmed; for a number, a text that
    is a number (a sentinel such as -999) means every spelling of that number. `format` is a pattern
    of strptime for dates, "" for ISO 8601. A row with a value below `minimum` or above `maximum` is
    dropped. Categories outside of `values` are kept, with a warning.
    """

    name: str
    type: str = "number"
    role: str = "feature"
    format: str = ""
    minimum: float = -math.inf
    maximum: float = math.inf
    values: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset(MISSING)
    true_values: frozenset[str] = frozenset(TRUE_VALUES)
    false_values: frozenset[str] = frozenset(FALSE_VALUES)
    zero_is_odd: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its cells are text, a category; all other types are numbers in memory."""
        return self.type == "string"

    @property
    def is_date(self) -> bool:
        return self.type in ("date", "datetime")

    @property
    def cell_rule(self) -> list[Any]:
        """What a cell's text means depends on this."""
        words = (self.missing, self.true_values, self.false_values)
        return [self.type, self.format, *map(sorted, words)]


@dataclass(frozen=True)
class Metric:
    """The metric that decides, and its threshold."""

    name: str
    threshold: float
    more_is_better: bool

    @property
    def parameter(self) -> str:
        """The pipeline parameter that has the threshold, such as MseThreshold."""
        words = self.name.split("_")
        return "".join(word.capitalize() for word in words) + "Threshold"

    def passes(self, value: float) -> bool:
        return value >= self.threshold if self.more_is_better else value <= self.threshold


@dataclass(frozen=True)
class Split:
    """Which split a row falls into.

    By the cells of the columns `by`, or of the columns `group` (equal ones are never apart), under
    `seed`; or by the date column `time`: before `validation_from` train, before `test_from`
    validation, else test (days since 1970).
    """

    seed: int = 42
    by: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    time: str = ""
    validation_from: str = ""
    test_from: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.group or self.by or ((self.time,) if self.time else ())


@dataclass(frozen=True)
class FileFormat:
    """What the files are; one that is something else is refused."""

    format: str = "csv"
    compression: str = ""  # or gzip
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    header: bool = True


@dataclass(frozen=True)
class Schema:
    """The content of a schema.json that was found right; `sha256` is that of its canonical JSON."""

    fields: tuple[Field, ...]
    label: str
    problem: str
    metric: Metric
    split: Split
    positive: str = ""
    facets: tuple[str, ...] = ()
    file: FileFormat = FileFormat()
    content: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def field(self, name: str) -> Field:
        return next(one for one in self.fields if one.name == name)

    @property
    def label_field(self) -> Field:
        return self.field(self.label)

    @property
    def features(self) -> tuple[Field, ...]:
        """The columns that the model takes, in the order of a request."""
        return tuple(one for one in self.fields if one.role == "feature")

    @property
    def used(self) -> tuple[Field, ...]:
        """The columns that are read: not those that are ignored."""
        return tuple(one for one in self.fields if one.role != "ignored")

    @property
    def metric_path(self) -> str:
        """Where evaluation.json has the value of the metric that decides."""
        return f"{METRIC_GROUPS[self.problem]}.{self.metric.name}.value"

    @property
    def sha256(self) -> str:
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def split_sha256(self) -> str:
        """The hash of the split rule: of `split`, and of what makes cells equal in its columns."""
        split = self.split
        rule = {
            "seed": None if split.time else split.seed,
            "from": [split.validation_from, split.test_from],
            "columns": {name: self.field(name).cell_rule for name in split.columns},
        }
        return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()


def read_schema(content: bytes, where: str = "schema.json") -> Schema:
    """Parse the bytes of a schema.json.

    Raises:
        SchemaError: it is not JSON, or something in it is wrong; one line that begins with `where`.
    """
    try:
        value = json.loads(content, object_pairs_hook=unique)
        return _schema(value)
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{where}: not JSON: {error}") from None


def _schema(value: object) -> Schema:
    top = JsonObject(value, "")
    top.take("$schema", str, "")
    missing = top.texts("missingValues", MISSING)
    label = top.take("label", str)
    listed = top.take("fields", list)
    fields = tuple(_field(one, f"fields[{n}]", missing, label) for n, one in enumerate(listed))
    names = [one.name for one in fields]
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"fields: the name {name!r} is duplicated")
    if label not in names:
        raise SchemaError(f"label is {label!r}, which is not the name of a field")
    if not any(one.role == "feature" for one in fields):
        raise SchemaError("fields: none has the role feature, so a model has nothing to go by")
    problem = top.one_of("problem", PROBLEMS)
    about = next(one for one in fields if one.name == label)
    _check_label(about, problem)
    positive = top.take("positive", str, "")
    if (problem == "binary") != bool(positive):
        raise SchemaError("positive names a class of a binary label, and only of that")
    if positive.strip().lower() in about.missing - {""}:
        raise SchemaError(f"positive is {positive!r}, which is in missingValues: it means no value")
    schema = Schema(
        fields=fields,
        label=label,
        problem=problem,
        metric=_metric(top.take("metric", dict), problem),
        split=_split(top.take("split", dict), fields),
        positive=positive,
        facets=_facets(top.texts("facets"), fields, label),
        file=_file(top.take("file", dict, {})),
        content=value if isinstance(value, dict) else {},
    )
    top.end()
    return schema


def _field(value: object, where: str, missing: Sequence[str], label: str) -> Field:
    about = JsonObject(value, where)
    name = about.take("name", str)
    if not name or name != name.strip() or any(ord(letter) < 32 for letter in name):
        raise SchemaError(f"{where}.name is {shown(name)}, wanted a text without outer spaces")
    type_ = about.one_of("type", TYPES)
    role = about.one_of("role", ROLES, "label" if name == label else "feature")
    if (role == "label") != (name == label):
        raise SchemaError(f"{where}.role is {role!r}, and label is {label!r}")
    limits = JsonObject(about.take("constraints", dict, {}), about.at("constraints"))
    found = Field(
        name=name,
        type=type_,
        role=role,
        format=_format(about, type_),
        minimum=limits.take("minimum", float, -math.inf),
        maximum=limits.take("maximum", float, math.inf),
        values=limits.texts("enum"),
        missing=_words(about.texts("missingValues", missing)) | {""},
        true_values=_words(about.texts("trueValues", TRUE_VALUES)),
        false_values=_words(about.texts("falseValues", FALSE_VALUES)),
        zero_is_odd=about.take("zeroIsOdd", bool, False),
    )
    if found.minimum > found.maximum:
        raise SchemaError(f"{where}.constraints: minimum is above maximum")
    if found.values and not found.is_text:
        raise SchemaError(f"{where}.constraints.enum is for texts, and the type is {type_}")
    limits.end()
    about.end()
    return found


def _format(about: JsonObject, type_: str) -> str:
    """Return a pattern of strptime; "" stands for ISO 8601, which Table Schema calls "default"."""
    pattern: str = about.take("format", str, "")
    if pattern == "default" or type_ not in ("date", "datetime"):
        return ""
    try:
        if pattern and "%" not in pattern:
            raise ValueError
        datetime.strptime(A_MOMENT.strftime(pattern), pattern)
    except (ValueError, re.error):
        raise SchemaError(
            f"{about.at('format')} is {pattern!r}, wanted a pattern of strptime such as '%d.%m.%Y'"
        ) from None
    return pattern


def _words(texts: Sequence[str]) -> frozenset[str]:
    return frozenset(text.strip().lower() for text in texts)


def _check_label(label: Field, problem: str) -> None:
    number = label.type in ("number", "integer")
    if problem == "regression" and not number:
        raise SchemaError(
            f"problem is 'regression', and the label is of type {label.type}; wanted number or"
            " integer"
        )
    if problem != "regression" and label.type not in ("string", "integer", "boolean"):
        raise SchemaError(
            f"problem is {problem!r}, and the label is of type {label.type}; wanted string, integer"
            " or boolean"
        )


def _metric(value: object, problem: str) -> Metric:
    about = JsonObject(value, "metric")
    known = METRICS[problem]
    name = about.one_of("name", list(known))
    bound = "at_least" if known[name] else "at_most"
    threshold = about.take(bound, float)
    about.end()
    return Metric(name, threshold, known[name])


def _split(value: object, fields: Sequence[Field]) -> Split:
    about = JsonObject(value, "split")
    found = Split(
        seed=about.take("seed", int, 42),
        by=about.texts("by"),
        group=about.texts("group"),
        time=about.take("time", str, ""),
        validation_from=about.take("validationFrom", str, ""),
        test_from=about.take("testFrom", str, ""),
    )
    about.end()
    if bool(found.by) + bool(found.group) + bool(found.time) != 1:
        raise SchemaError("split wants one of by, group and time")
    if not 0 <= found.seed < 2**32:
        raise SchemaError(f"split.seed is {found.seed}, wanted 0 to 2**32 - 1")
    known = {one.name: one for one in fields if one.role != "ignored"}
    for name in found.columns:
        if name not in known:
            raise SchemaError(f"split names {name!r}, which is not a field that is read")
    if bool(found.time) != bool(found.validation_from and found.test_from):
        raise SchemaError("split.time wants validationFrom and testFrom, as ISO 8601, and only it")
    if found.time and not known[found.time].is_date:
        raise SchemaError(f"split.time names {found.time!r}, which is no date")
    for member, text in (
        ("validationFrom", found.validation_from),
        ("testFrom", found.test_from),
    ):
        if text and not _is_day(text[:10]):
            raise SchemaError(f"split.{member} is {text!r}, wanted a date such as 2024-12-31")
    if found.time and not found.validation_from < found.test_from:
        raise SchemaError("split.validationFrom must be before split.testFrom")
    return found


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _facets(names: tuple[str, ...], fields: Sequence[Field], label: str) -> tuple[str, ...]:
    known = {one.name for one in fields if one.role != "ignored"} - {label}
    for name in names:
        if name not in known:
            raise SchemaError(f"facets names {name!r}, which is not a column that is read")
    return names


def _file(value: object) -> FileFormat:
    about = JsonObject(value, "file")
    found = FileFormat(
        format=about.one_of("format", FORMATS, "csv"),
        compression=about.one_of("compression", ("", "gzip"), ""),
        encoding=about.one_of("encoding", ENCODINGS, "utf-8"),
        delimiter=about.one_of("delimiter", DELIMITERS, ","),
        decimal=about.one_of("decimal", (".", ","), "."),
        header=about.take("header", bool, True),
    )
    about.end()
    if found.format == "csv" and found.decimal == found.delimiter:
        raise SchemaError("file: the delimiter and the decimal mark are both a comma")
    return found
