"""Any table is learned and all of its own rows are answered, or it is refused in one line."""

import contextlib
import csv
import gzip
import io
import json
import random
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sagemaker_project.inspect_data.command import main as inspect_data
from sagemaker_project.tabular import artifact, preprocessing, script, serving, splits, training
from sagemaker_project.tabular.client import csv_body, csv_row, records
from sagemaker_project.tabular.parameters import Parameters
from sagemaker_project.tabular.reading import find_files, read_table
from sagemaker_project.tabular.schema import Schema, read_schema

QUICK = replace(Parameters(), max_iter=3)
WORDS = ["", "", "NA", "?", "-", "null", "unknown"]
NAMES = ["a", "b b", "ä", "Label", "y", "2019", "na", "x,y", 'q"q', "a.month", "-x", "__", "date"]
TEXTS = ["red", "Blue", "x, y", 'a "b"', "ß", "two\nlines", "1e5x", "0", "None", "=1+1", "'", " c "]
PLACE = re.compile(r"line \d+|column '?\S|\d+ (distinct )?row|split has no rows|: has NUL")
ADVICE = re.compile(r"; |wanted")

# A palette is the cells that a column is made of.
numbers = st.floats(allow_nan=False, allow_infinity=False)


def several(cells: st.SearchStrategy[str], most: int = 60) -> st.SearchStrategy[list[str]]:
    return st.lists(cells, min_size=2, max_size=most, unique=True)


palettes = st.one_of(
    several(st.integers(-50, 50).map(str)),
    several(st.floats(-100, 100).map(lambda x: f"{x:.2f}")),
    several(numbers.map(repr), 20),
    several(st.integers(0, 999).map("{:05}".format)),
    several(st.sampled_from(TEXTS), 8),
    st.lists(st.text(max_size=6), min_size=1, max_size=60),
    several(st.dates().map(str)),
    several(st.dates().map(lambda day: day.strftime("%d.%m.%Y"))),
    several(st.datetimes().map(lambda time: time.isoformat(" "))),
    st.just(["", "-999", "1", "2", "3", "4"]),
    st.sampled_from(TEXTS).map(lambda cell: [cell]),
)
labels = st.one_of(
    palettes,
    st.sampled_from([["yes", "no"], ["0", "1"], ["True", "False"], ["a", "b"], ["N", "Y"]]),
    st.sampled_from([["a", "b", "c"], ["1", "2", "3"], ["ß", "x, y", 'a "b"'], ["none", "low"]]),
    several(st.floats(-100, 100).map(lambda x: f"{x:.2f}")),
    several(st.integers(0, 10**6).map(str)),
)


class Column(NamedTuple):
    name: str
    cells: list[str]


@st.composite
def tables(draw: Any) -> list[Column]:
    """Columns of which the last is the label, mostly one that can be learned."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
    rows = draw(st.sampled_from([200, 60, 400, 10]))
    chance = random.Random(draw(st.integers(0, 2**32)))
    columns = []
    for name in names:
        palette = draw(labels if name == names[-1] else palettes)
        if name != names[-1] and draw(st.booleans()):
            palette = [*palette, draw(st.sampled_from(WORDS))]
        columns.append(Column(name, [chance.choice(palette) for _ in range(rows)]))
    if draw(st.booleans()):
        cells = [f"{chance.gauss(0, 9):.3f}" for _ in range(rows)]
        columns.insert(0, Column("measured", cells))
    return columns


class Form(NamedTuple):
    """How a table is written."""

    encoding: str
    delimiter: str
    compress: bool

    def write(self, columns: list[Column], folder: Path) -> Path:
        text = io.StringIO(newline="")
        rows = zip(*(column.cells for column in columns), strict=True)
        names = [column.name for column in columns]
        csv.writer(text, delimiter=self.delimiter).writerows([names, *rows])
        content = text.getvalue().encode(self.encoding)
        path = folder / ("data.csv.gz" if self.compress else "data.csv")
        path.write_bytes(gzip.compress(content) if self.compress else content)
        return path


forms = st.builds(
    Form, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.sampled_from(",;\t|"), st.booleans()
)


def learn(folder: Path, data: Path, label: str) -> str:
    """Take a table from its file to a model folder; return "", or the line that refuses it."""
    schema_file = folder / "schema.json"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = inspect_data(
            [str(data), f"--label={label}", "--yes", f"--output={schema_file}"]
        ) or script.run("train", lambda: train(folder, data), None)
    assert code in (0, 2), err.getvalue()
    if not code:
        return ""
    *notes, line = err.getvalue().splitlines()
    assert all(note.startswith("inspect-data: ") for note in notes)
    return line


def train(folder: Path, data: Path) -> None:
    schema_file = folder / "schema.json"
    schema = read_schema(schema_file.read_bytes())
    parts = [folder / name for name in ("train", "validation", "test", "report")]
    preprocessing.preprocess(data, schema_file, preprocessing.Folders(*parts))
    rows = splits.read_split(parts[0] / "train.csv", schema)
    validation = splits.read_split(parts[1] / "validation.csv", schema)
    fitted = training.fit(rows, validation, schema, QUICK)
    about = artifact.save(folder / "model", fitted, schema, validation, folder)
    assert about["fast_path"]["proven"], about["fast_path"]


def check_scores(folder: Path, data: Path, columns: list[Column]) -> None:
    """Every row of the table is answered: by its own cells, and by what they were read as."""
    schema = read_schema((folder / "schema.json").read_bytes())
    cells = {column.name: column.cells for column in columns}
    own = [cells[field.name] for field in schema.features]
    table = read_table(find_files(data, schema), schema).table
    read = [csv_row(record, schema.features) for record in records(table, schema.features)]
    by_own_cells = answers(folder, schema, list(zip(*own, strict=True)))
    assert by_own_cells == answers(folder, schema, read)


def answers(folder: Path, schema: Schema, rows: Any) -> list[Any]:
    model = serving.model_fn(str(folder / "model"))
    data = serving.input_fn(csv_body(rows), "text/csv")
    answer = serving.output_fn(serving.predict_fn(data, model), "application/json")
    assert isinstance(answer, tuple), answer.get_data()
    predictions: list[Any] = json.loads(answer[0])["predictions"]
    assert len(predictions) == len(rows)
    check_csv(serving.predict_fn(data, model), predictions)
    return predictions


def check_csv(found: Any, predictions: list[Any]) -> None:
    """The answer as CSV says the same as the one in JSON."""
    answer = serving.output_fn(found, "text/csv")
    assert isinstance(answer, tuple)
    lines = list(csv.reader(io.StringIO(answer[0], newline="")))
    labels = [one["predicted_label"] if isinstance(one, dict) else repr(one) for one in predictions]
    assert [line[0] for line in lines] == labels


def test_a_line_break_of_any_kind_is_quoted() -> None:
    rows = [["a\rb", "c\nd"], ["e\r\nf", '"g,"'], ["", ""]]
    assert list(csv.reader(io.StringIO(csv_body(rows), newline=""))) == rows
    check_csv(*[[{"predicted_label": "a\rb", "probabilities": {"a\rb": 0.9, "c\nd": 0.1}}]] * 2)


def check(columns: list[Column], form: Form) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = form.write(columns, folder)
        if refused := learn(folder, data, columns[-1].name):
            assert PLACE.search(refused) and ADVICE.search(refused), refused
        else:
            check_scores(folder, data, columns)


# A table is not made smaller: that takes minutes, and says little more.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)


@settings(PATIENT, max_examples=15)
@given(tables(), forms)
def test_any_table_is_learned_and_answered_or_refused_in_one_line(
    columns: list[Column], form: Form
) -> None:
    check(columns, form)


@pytest.mark.acceptance
@settings(PATIENT, max_examples=600)
@given(tables(), forms)
def test_many_tables_are_learned_and_answered_or_refused(columns: list[Column], form: Form) -> None:
    check(columns, form)
