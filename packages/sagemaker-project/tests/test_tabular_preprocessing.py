"""The preprocessing step, from a table in memory to files; with `reading`, from files."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.tabular import preprocessing
from sagemaker_project.tabular.description import describe, stability_index
from sagemaker_project.tabular.preprocessing import (
    Folders,
    Source,
    data_url,
    prepare,
    preprocess,
    summary,
)
from sagemaker_project.tabular.split import SPLITS, split_of
from sagemaker_project.tabular.splits import read_split
from sagemaker_project.tabular.table import BadInput
from table_helpers import SHELLS, make_schema, make_table, schema_content, shells

pytestmark = pytest.mark.fast


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Run the step on a table: what is read is that table, of a file data.csv."""

    def run(table, content, extra=(), notes=()):
        source = tmp_path / "data.csv"
        source.write_text("the data")
        schema_file = tmp_path / "schema.json"
        schema_file.write_text(json.dumps(content))
        read = Source(table, extra, True, notes)
        monkeypatch.setattr(preprocessing, "_read", lambda source, schema: ([source], read))
        return preprocess(source, schema_file, folders(tmp_path), "s3://bucket/data.csv")

    return run


def folders(tmp_path):
    return Folders(*(tmp_path / name for name in (*SPLITS, "report")))


def test_every_row_is_in_one_split_as_the_rule_says(step, tmp_path):
    table, content = shells(), schema_content(SHELLS)
    report = step(table, content)
    schema = make_schema(SHELLS)
    parts = split_of(table, schema)
    for number, name in enumerate(SPLITS):
        read = read_split(tmp_path / name / f"{name}.csv", schema)
        for column in ("length", "height", "y"):
            wanted = table.numbers(column)[parts == number]
            np.testing.assert_array_equal(read.numbers(column), wanted)
        assert len(read) == report["splits"][name]
    assert sum(report["splits"].values()) == 600


def test_the_report_is_the_file_and_identifies_data_and_rules(step, tmp_path):
    content = schema_content(SHELLS)
    report = step(shells(), content)
    assert json.loads((tmp_path / "report/data_report.json").read_text()) == report
    assert report["file"] == "data.csv" and report["files"] == ["data.csv"]
    assert report["url"] == "s3://bucket/data.csv" and report["header"] is True
    assert report["data_sha256"] == hashlib.sha256(b"the data").hexdigest()
    assert report["rows"] == {"read": 600, "dropped": 0, "kept": 600, "copies": 0}
    schema = make_schema(SHELLS)
    assert report["seed"] == 42 and report["split"] == content["split"]
    assert report["split_sha256"] == schema.split_sha256
    assert report["schema_sha256"] == schema.sha256
    assert report["classes"] == {}


def test_schema_is_copied_byte_for_byte_beside_train(step, tmp_path):
    step(shells(), schema_content(SHELLS))
    assert (tmp_path / "train/schema.json").read_bytes() == (tmp_path / "schema.json").read_bytes()


def test_columns_have_type_missing_range_histogram_and_drift(step):
    columns = step(shells(), schema_content(SHELLS))["columns"]
    assert list(columns) == ["sex", "length", "height", "y"]
    sex, height = columns["sex"], columns["height"]
    assert (sex["kind"], sex["type"]) == ("categorical", "string")
    assert (height["kind"], height["type"]) == ("numeric", "number")
    assert set(sex["categories"]) == set(sex["histogram"]["labels"]) == {"F", "I", "M"}
    assert sex["missing"] + sum(sex["categories"].values()) == 600
    assert height["minimum"] < height["mean"] < height["maximum"]
    assert len(height["histogram"]["edges"]) == 21
    counts = [sum(height["histogram"][name]) for name in SPLITS]
    assert sum(counts) + height["missing"] == 600
    assert all(column["drift"] < 0.25 for column in columns.values())


def test_classes_are_counted_in_each_split(step):
    labels = ["yes", "no", "no"] * 200
    table = make_table({"x": range(600), "y": labels})
    content = schema_content({"x": "number", "y": "string"}, problem="binary", positive="yes")
    report = step(table, content)
    assert list(report["classes"]) == ["no", "yes"]
    assert sum(report["classes"]["yes"].values()) == 200
    totals = [sum(one[name] for one in report["classes"].values()) for name in SPLITS]
    assert totals == list(report["splits"].values())


def test_copies_are_in_one_split_and_told(step, tmp_path):
    """Row 29 of the bad inputs."""
    one = shells(400)
    twice = one.take(np.tile(np.arange(400), 2))
    report = step(twice, schema_content(SHELLS))
    assert report["rows"]["copies"] == 400
    assert "400 row(s) are exact copies of another" in report["warnings"][-1]
    rows = [set((tmp_path / name / f"{name}.csv").read_text().splitlines()[1:]) for name in SPLITS]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows)) == 400


def test_notes_of_reading_and_extra_columns_are_warnings(step):
    warnings = step(shells(2000), schema_content(SHELLS), ["colour"], ["blank lines"])["warnings"]
    assert warnings == ["blank lines", "1 column(s) not in the schema were ignored: colour"]


def test_the_summary_tells_what_was_found(step):
    fields = {**SHELLS, "length": {"type": "number", "constraints": {"minimum": 30}}}
    table = shells()
    table.numbers("y")[7] = 1.2e19
    lines = list(summary(step(table, schema_content(fields), ["colour"])))
    assert lines[0].startswith("data.csv: 600 rows read, ") and lines[0].endswith(" test")
    assert lines[1].startswith("dropped: column 'length' below 30 in ")
    assert lines[2].startswith("suspicious: column 'y' far from the other labels")
    assert lines[2].endswith("in 1 row(s), line 9")
    assert "warning: 1 column(s) not in the schema were ignored: colour" in lines


def test_a_refused_table_leaves_no_file(step, tmp_path):
    with pytest.raises(BadInput, match="^data.csv: 10 distinct row"):
        step(shells(10), schema_content(SHELLS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "schema.json"]


def test_a_failed_write_leaves_no_file(step, tmp_path):
    (tmp_path / "test").write_text("a file where a folder is wanted")
    with pytest.raises(OSError):
        step(shells(), schema_content(SHELLS))
    assert not list((tmp_path / "train").iterdir())


def test_url_is_that_of_the_jobs_description(tmp_path):
    job = tmp_path / "job.json"
    assert data_url(job) == "unknown"
    inputs = [{"InputName": "input-data", "S3Input": {"S3Uri": "s3://bucket/a"}}]
    job.write_text(json.dumps({"ProcessingInputs": inputs}))
    assert data_url(job) == "s3://bucket/a"
    job.write_text("[]")
    assert data_url(job) == "unknown"


# Descriptions


def histogram_of(values, kind="number"):
    table = make_table({"x": values, "y": range(len(values))})
    parts = np.arange(len(values)).astype(np.int8) % 3
    return describe(table, make_schema({"x": kind, "y": "number"}), parts)["x"]


def test_one_outlier_does_not_hide_the_others_in_one_bin():
    about = histogram_of([*np.linspace(0, 1, 500).tolist(), 1e19])
    assert about["maximum"] == 1e19 and about["histogram"]["edges"][-1] < 2
    assert max(about["histogram"]["train"]) < 20
    assert sum(sum(about["histogram"][name]) for name in SPLITS) == 501


def test_few_whole_numbers_have_a_bin_each():
    histogram = histogram_of([1, 2, 3, 3, 3, None])["histogram"]
    assert histogram["edges"] == [0.5, 1.5, 2.5, 3.5]
    assert [histogram[name] for name in SPLITS] == [[1, 0, 1], [0, 1, 1], [0, 0, 1]]


def test_booleans_are_two_bins_and_rare_categories_one():
    assert histogram_of([0, 1, 1, None], "boolean")["histogram"]["labels"] == ["0", "1"]
    about = histogram_of([f"v{n // 2}" for n in range(100)], "string")
    assert len(about["categories"]) == 20 and about["histogram"]["labels"][-1] == "(other)"
    assert sum(about["histogram"][name][-1] for name in SPLITS) == 60


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1, max_size=50)
)
def test_any_column_of_numbers_is_described_as_json(values):
    about = histogram_of(values)
    json.dumps(about, allow_nan=False)
    edges = about["histogram"]["edges"]
    assert edges == sorted(set(edges))
    counts = [about["histogram"][name] for name in SPLITS]
    assert {len(row) for row in counts} == {len(edges) - 1}
    assert sum(map(sum, counts)) + about["missing"] == len(values)


def test_drift_is_none_by_chance_and_large_where_splits_differ():
    random = np.random.default_rng(1)
    same = [np.bincount(random.integers(0, 20, rows), minlength=20) for rows in (420, 90)]
    assert stability_index(*same) < 0.1
    assert stability_index(np.array([400, 100, 0]), np.array([10, 20, 70])) > 1
    assert stability_index(np.array([3, 4]), np.array([0, 0])) == 0


# Any table


words = st.sampled_from(["", "a", "b", "ü", "long text, with commas"])
cells = st.sampled_from([None, 0.0, -0.0, 1.0, -999.0, 0.1, 1e308, -1e308, 5e-324])


@given(
    rows=st.lists(st.tuples(words, cells, st.sampled_from(["yes", "no"])), min_size=1, max_size=9),
    times=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_table_is_prepared_or_refused_in_one_line(rows, times, seed):
    fields = {"n": "number", "a": "string", "b": "number", "y": "string"}
    schema = make_schema(
        fields, problem="binary", positive="yes", split={"seed": seed, "by": ["n", "a", "b"]}
    )
    a, b, y = zip(*rows * times, strict=True)
    table = make_table({"n": [k % 50 for k in range(len(a))], "a": a, "b": b, "y": y})
    try:
        prepared = prepare(Source(table, [], True, []), schema)
    except BadInput as error:
        assert "\n" not in str(error) and ("column 'y'" in str(error) or "row" in str(error))
        return
    json.dumps(prepared.found, allow_nan=False)
    for counts in prepared.found["classes"].values():
        assert all(counts.values())


# With reading


@pytest.mark.parametrize("parts", [1, 7])
def test_files_are_read_split_and_identified(tmp_path, parts):
    pytest.importorskip("sagemaker_project.tabular.reading")
    table, data = shells(), tmp_path / "data"
    data.mkdir()
    texts = [
        f"{sex},{length},{'' if height != height else height},{y:.0f}"
        for sex, length, height, y in zip(
            table.categories("sex").texts,
            *(table.numbers(name).tolist() for name in ("length", "height", "y")),
            strict=True,
        )
    ]
    for number, rows in enumerate(np.array_split(np.arange(600), parts)):
        lines = [",".join(SHELLS), *(texts[row] for row in rows)]
        (data / f"part-{number}.csv").write_text("\n".join(lines) + "\n")
    schema_file = tmp_path / "schema.json"
    schema_file.write_text(json.dumps(schema_content(SHELLS)))
    report = preprocess(data, schema_file, folders(tmp_path))
    assert report["file"] == ("part-0.csv" if parts == 1 else "data")
    assert len(report["files"]) == parts and report["rows"]["kept"] == 600
    schema = make_schema(SHELLS)
    train = read_split(tmp_path / "train/train.csv", schema)
    wanted = table.take(split_of(table, schema) == 0)
    assert (train.categories("sex").texts == wanted.categories("sex").texts).all()
    for name in ("length", "height", "y"):
        np.testing.assert_array_equal(train.numbers(name), wanted.numbers(name))
