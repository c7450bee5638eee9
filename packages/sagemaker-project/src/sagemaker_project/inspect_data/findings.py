"""What the parts of inspect-data tell each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from sagemaker_project.tabular.cells import SPACES
from sagemaker_project.tabular.schema import MISSING, FileFormat

NO_VALUE = frozenset(MISSING)


class Answer(NamedTuple):
    """An answer to a doubt, and the flag that gives it."""

    text: str
    flag: str
    value: str


@dataclass(frozen=True)
class Doubt:
    """What cannot be decided from the data alone; the first answer is the best guess.

    Without answers it is a note: something to repair in the file.
    """

    text: str
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Options:
    """What the user said. `types` are {column: (type, pattern of strptime)}."""

    label: str
    problem: str = ""
    metric: str = ""
    threshold: float | None = None
    positive: str = ""
    ids: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    time: str = ""
    types: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a column of the sample. `kind` is the type in a Parquet file, else ""."""

    name: str
    texts: Sequence[str]
    kind: str = ""

    @cached_property
    def counts(self) -> Counter[str]:
        """Rows of each distinct text, trimmed; without those that mean no value everywhere."""
        counts: Counter[str] = Counter()
        for text, rows in Counter(self.texts).items():
            trimmed = text.strip(SPACES)
            if trimmed.lower() not in NO_VALUE:
                counts[trimmed] += rows
        return counts

    @cached_property
    def rows(self) -> int:
        """How many cells have a value."""
        return self.counts.total()

    @property
    def missing(self) -> int:
        return len(self.texts) - self.rows

    @property
    def is_unique(self) -> bool:
        return len(self.counts) == self.rows


@dataclass(frozen=True)
class Sample:
    """Some rows of the files. `whole` is whether they are all."""

    columns: tuple[Cells, ...]
    file: FileFormat
    files: tuple[str, ...]
    whole: bool
    notes: tuple[Doubt, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.columns[0].texts)


@dataclass(frozen=True)
class Finding:
    """What a column is, and why."""

    name: str
    type: str
    role: str
    reason: str
    format: str = ""
    values: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # besides those that mean no value everywhere
    kept: tuple[str, ...] = ()  # words that mean no value elsewhere, and are classes here
    doubts: tuple[Doubt, ...] = ()


def count(n: int, what: str) -> str:
    """Return a number with its noun: `1 row`, `1,200 rows`."""
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{n:,} {what if n == 1 else plural}"
