"""Rows that are dropped, values and columns that are told, tables that are refused; split files."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.tabular.cleaning import check_rows, clean, warnings
from sagemaker_project.tabular.splits import read_split, write_split
from sagemaker_project.tabular.table import BadInput, Categories
from table_helpers import SHELLS, joined, make_schema, make_table, shells

pytestmark = pytest.mark.fast

TWO = {"x": "number", "y": "number"}
RANDOM = np.random.default_rng(5)
NOISE = RANDOM.normal(size=600)


def binary(fields, **members):
    return make_schema(fields, **{"problem": "binary", "positive": "yes", **members})


# Rows and values


def test_rows_out_of_range_are_dropped_and_counted_with_examples():
    schema = make_schema({"x": {"type": "number", "constraints": {"minimum": 0}}, "y": "number"})
    table = make_table({"x": [1.0, -0.1, None, -2.0, 3.0], "y": range(5)})
    kept, [note], odd = clean(table, schema)
    assert kept.numbers("y").tolist() == [0, 2, 4] and kept.line.tolist() == [2, 4, 6]
    assert (note["column"], note["reason"], note["count"]) == ("x", "below 0", 2)
    assert note["examples"] == [{"line": 3, "value": -0.1}, {"line": 5, "value": -2.0}]
    assert odd == []


def test_examples_are_at_most_five_and_name_their_file_among_several():
    limits = {"type": "number", "constraints": {"maximum": 2}}
    schema = make_schema({"x": limits, "y": "number"})
    table = joined(*(make_table({"x": [1.0, 9.0], "y": [1, 2]}) for _ in range(7)))
    _, [note], _ = clean(table, schema)
    assert (note["reason"], note["count"], len(note["examples"])) == ("above 2", 7, 5)
    assert note["examples"][1] == {"line": 3, "value": 9.0, "file": "part-1.csv"}


def test_zeros_and_unlisted_categories_are_kept_and_noted():
    fields = {
        "sex": {"type": "string", "constraints": {"enum": ["F", "M"]}},
        "x": {"type": "number", "zeroIsOdd": True},
        "y": "number",
    }
    table = make_table({"sex": ["F", "m", "", "M"], "x": [0, 1, 2, -0.0], "y": range(4)})
    kept, dropped, [category, zero] = clean(table, make_schema(fields))
    assert len(kept) == 4 and not dropped
    assert (category["reason"], category["count"]) == ("not one of F, M", 1)
    assert category["examples"] == [{"line": 3, "value": "m"}]
    assert (zero["reason"], zero["count"]) == ("zero", 2)


@pytest.mark.parametrize("label", [12345678901234567890.0, -1e19, 290.0, 1e308])
def test_a_label_far_from_the_others_is_noted(label):
    rings = [*RANDOM.integers(5, 15, 200).astype(float), label]
    table = make_table({"x": range(201), "y": rings})
    kept, dropped, [note] = clean(table, make_schema(TWO))
    assert len(kept) == 201 and not dropped
    assert note["column"] == "y" and note["reason"].startswith("far from the other labels")
    assert note["examples"] == [{"line": 202, "value": label}]


@pytest.mark.parametrize(
    "labels",
    [
        RANDOM.normal(size=2_000),
        RANDOM.lognormal(sigma=1, size=2_000),
        RANDOM.poisson(0.05, 2_000),
        RANDOM.integers(0, 2, 50),
        [1e308, -1e308] * 20,
    ],
)
def test_a_long_tail_is_not_far(labels):
    table = make_table({"x": range(len(labels)), "y": labels})
    assert clean(table, make_schema(TWO))[2] == []


# Tables that are refused


def refused(table, schema, read=None, copies=0):
    with pytest.raises(BadInput) as error:
        check_rows(table, schema, read or len(table), copies)
    return str(error.value)


def test_too_few_rows_are_refused():
    """Row 18 of the bad inputs."""
    schema, table = make_schema(TWO), make_table({"x": range(30), "y": range(30)})
    check_rows(table, schema, 30, 10)
    assert "19 distinct row(s) of 30 read can be used; at least 20" in refused(
        table, schema, 30, 11
    )
    assert "only 30 of 61 rows are within the ranges" in refused(table, schema, 61)
    nothing = clean(
        make_table({"x": [1.0] * 30, "y": [2.0] * 30}),
        make_schema({"x": {"type": "number", "constraints": {"minimum": 5}}, "y": "number"}),
    )[0]
    assert "only 0 of 30 rows" in refused(nothing, schema, 30)


def test_a_constant_label_is_refused():
    """Row 18 of the bad inputs."""
    table = make_table({"x": range(30), "y": [3] * 30})
    assert "column 'y' is 3 in all 30 rows: there is nothing" in refused(table, make_schema(TWO))
    table = make_table({"x": range(30), "y": ["yes"] * 30})
    assert "column 'y' is 'yes' in all 30" in refused(table, binary({"x": "number", "y": "string"}))


def test_a_label_whose_square_is_no_number_is_refused():
    table = make_table({"x": range(30), "y": [*range(29), 1e308]})
    message = refused(table, make_schema(TWO))
    assert "line 31, column 'y': 1e+308 is too large a label" in message


@pytest.mark.parametrize(
    ("labels", "members", "message"),
    [
        (["a", "b", "c"], {"positive": "a"}, "3 classes ('a', 'b', 'c'), and the problem is 'bin"),
        (["a", "b"], {"problem": "multiclass", "positive": ""}, "set problem to 'binary'"),
        (["a", "b"], {}, "has the classes 'a', 'b', and positive is 'yes'"),
    ],
)
def test_a_label_that_does_not_fit_the_problem_is_refused(labels, members, message):
    table = make_table({"x": range(30 * len(labels)), "y": labels * 30})
    assert message in refused(table, binary({"x": "number", "y": "string"}, **members))


def test_a_class_of_fewer_than_20_rows_is_refused():
    """Row 18 of the bad inputs."""
    schema = binary({"x": "number", "y": "string"})
    check_rows(make_table({"x": range(60), "y": ["yes"] * 20 + ["no"] * 40}), schema, 60, 0)
    message = refused(make_table({"x": range(60), "y": ["yes"] * 19 + ["no"] * 41}), schema)
    assert "column 'y' has fewer than 20 rows of class 'yes' (19); add rows, or join" in message


def test_many_small_classes_are_named_in_part():
    schema = binary({"x": "number", "y": "integer"}, problem="multiclass", positive="")
    message = refused(make_table({"x": range(60), "y": list(range(30)) * 2}), schema)
    assert "of class '0' (2), '1' (2), '2' (2), '3' (2), '4' (2) and 25 more" in message


# Warnings


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ([7.0] * 600, "number", "is constant"),
        ([None] * 600, "number", "is constant"),
        (["a"] * 600, "string", "is constant"),
        (RANDOM.permutation(600), "integer", "looks like an identifier: another whole number"),
        ([f"id{n}" for n in range(600)], "string", "looks like an identifier: 600 categories"),
        (np.exp(NOISE), "number", "leaks the label"),
        ([None, *-NOISE[1:]], "number", "leaks the label"),
        ([f"{value:.1f}" for value in NOISE], "string", "leaks the label"),
    ],
)
def test_columns_that_deserve_a_look_of_a_regression(column, kind, message):
    """Row 29 of the bad inputs."""
    schema = make_schema({"x": kind, "y": "number"})
    [found] = warnings(make_table({"x": column, "y": NOISE}), schema, [])
    assert found.startswith("column 'x'") and message in found


CLASSES = ["yes" if value > 1 else "no" for value in NOISE]


@pytest.mark.parametrize(
    "column",
    [NOISE, -NOISE, NOISE.round(), [float(label == "yes") for label in CLASSES]]
    + [["late" if label == "yes" else "in time" for label in CLASSES]]
    + [[value if label == "yes" else None for value, label in zip(NOISE, CLASSES, strict=True)]]
    + [[1.0 if label == "yes" else None for label in CLASSES]],
)
def test_a_column_that_gives_the_class_away_is_told(column):
    column = column if isinstance(column, list) else column.tolist()
    if column == NOISE.round().tolist():
        column = [math.ceil(value) for value in NOISE]  # 2 and more is yes
    kind = "string" if isinstance(column[0], str) else "number"
    [found] = warnings(
        make_table({"x": column, "y": CLASSES}), binary({"x": kind, "y": "string"}), []
    )
    assert "leaks the label: it gives 'y' away" in found


@pytest.mark.parametrize(
    "column",
    [
        NOISE + RANDOM.normal(scale=0.3, size=600),
        RANDOM.integers(0, 2, 600),
        RANDOM.normal(size=600),
        [str(value) for value in RANDOM.integers(0, 290, 600)],
        [f"{value:.0f}" for value in NOISE],
        [None] * 590 + NOISE[590:].tolist(),
    ],
)
def test_columns_that_are_well_get_no_warning(column):
    kind = "string" if isinstance(column[0], str) else "number"
    table = make_table({"x": column, "y": CLASSES})
    assert warnings(table, binary({"x": kind, "y": "string"}), []) == []
    table = make_table({"x": column, "y": NOISE})
    assert warnings(table, make_schema({"x": kind, "y": "number"}), []) == []


def test_a_column_of_the_role_id_is_not_looked_at():
    schema = make_schema({"n": {"type": "integer", "role": "id"}, "x": "number", "y": "number"})
    table = make_table({"n": range(600), "x": RANDOM.normal(size=600), "y": NOISE})
    assert warnings(table, schema, []) == []


def test_extra_columns_and_copies_are_told():
    """Rows 19 and 29 of the bad inputs."""
    extra, copies = warnings(shells(), make_schema(SHELLS), list("abcdef"), 3)
    assert extra == "6 column(s) not in the schema were ignored: a, b, c, d, e, ..."
    assert copies.startswith("3 row(s) are exact copies of another")


# Files


def test_a_split_is_readable_text(tmp_path):
    fields = {"s": "string", "day": "date", "flag": "boolean", "y": "number"}
    table = make_table(
        {
            "s": ["F", "", 'a,"b"'],
            "day": [19000, None, -1.25],
            "flag": [1, 0, None],
            "y": [15, 1e-7, -0.0],
        }
    )
    path = tmp_path / "train.csv"
    write_split(path, table, make_schema(fields))
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["s", "day", "flag", "y"],
            ["F", "19000", "1", "15"],
            ["", "", "0", "1e-7"],
            ['a,"b"', "-1.25", "", "-0"],
        ]


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(rows=st.lists(st.tuples(texts, numbers | st.none(), numbers), min_size=1, max_size=40))
def test_what_is_written_comes_back_bit_for_bit(tmp_path_factory, rows):
    schema = make_schema({"a": "string", "b": "number", "y": "number"})
    a, b, y = zip(*rows, strict=True)
    table = make_table({"a": a, "b": b, "y": y})
    path = tmp_path_factory.getbasetemp() / "bits.csv"
    write_split(path, table, schema)
    back = read_split(path, schema)
    assert back.columns["a"].texts.tolist() == list(a)
    for name in ("b", "y"):
        one, other = table.numbers(name), back.numbers(name)
        assert (np.isnan(one) == np.isnan(other)).all()
        known = ~np.isnan(one)
        assert (one[known].view(np.int64) == other[known].view(np.int64)).all()


def test_a_split_of_many_rows_comes_back(tmp_path):
    table, schema = shells(40_000), make_schema(SHELLS)
    write_split(tmp_path / "train.csv", table, schema)
    back = read_split(tmp_path / "train.csv", schema)
    assert len(back) == 40_000 and back.line[-1] == 40_001 and back.files == ("train.csv",)
    assert (back.categories("sex").texts == table.categories("sex").texts).all()
    assert isinstance(back.columns["sex"], Categories)
    assert back.categories("sex").codes.dtype == np.int32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sex,length\nM,1\n", "its columns are sex,length, wanted those of schema.json: sex,len"),
        ("sex,length,height,y\nM,x,1,1\n", "conversion error"),
        ("sex,length,height,y\nM,1\n", "Expected 4 columns, got 2"),
        ("", "Empty CSV file"),
    ],
)
def test_a_file_that_is_no_split_is_refused(tmp_path, content, message):
    path = tmp_path / "test.csv"
    path.write_text(content)
    with pytest.raises(BadInput, match=message) as error:
        read_split(path, make_schema(SHELLS))
    assert str(error.value).startswith("test.csv: ") and "\n" not in str(error.value)
