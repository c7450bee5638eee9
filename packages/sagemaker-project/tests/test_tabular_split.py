"""Which split a row falls into follows from the row and schema.json alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.tabular.schema import SchemaError
from sagemaker_project.tabular.split import (
    check_split,
    classes_of,
    keys,
    row_hashes,
    split_dates,
    split_of,
)
from sagemaker_project.tabular.table import BadInput, Categories
from sagemaker_project.tabular.xxhash64 import hash_texts
from table_helpers import SHELLS, joined, make_schema, make_table, shells
from tabular_helpers import schema_of

pytestmark = pytest.mark.fast

finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def parts_of(table, schema):
    return split_of(table, schema).tolist()


# The rule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 11002672306508523268),
        ("x", 12810693594942329153),
        ("é", 2065146811275570100),
        ("abcd", 11635998197418446335),
        ("12345678", 6863040065134489090),
        ("a text of 23 characters", 6159504075368873639),
        ("a text of exactly thirty-two 32.", 15076420156043634068),
        (
            "a text that is longer than two stripes of thirty-two bytes, and odd: 日本",
            7668137391866645505,
        ),
    ],
)
def test_texts_have_the_hash_that_spark_gives_them(text, expected):
    assert hash_texts([text, "another text"])[0] == expected


@pytest.mark.parametrize(
    ("seed", "expected", "parts"),
    [
        (
            0,
            [7389742255743641427, 7389742255743641427, 3558236937304713315, -7891392241525588916]
            + [-6989584240270532543, -3863786097569308354, 6952176973185769356],
            [0, 0, 0, 0, 1, 0, 2],
        ),
        (
            42,
            [2044826876855575923, 2044826876855575923, -6484261520735153614, 8727876631871714335]
            + [8298029674853451209, 468979334375239215, -2395199625789014082],
            [0, 0, 0, 0, 0, 2, 0],
        ),
        (
            2**32 - 1,
            [8416992705554969600, 8416992705554969600, -1382709461042618146, 1599391641621499632]
            + [5920913348263517342, 8944847990448754275, -1822042056661813222],
            [2, 2, 0, 2, 1, 0, 0],
        ),
    ],
)
def test_keys_are_those_of_the_rule(seed, expected, parts):
    fields = {"length": "number", "Sex": "string", "y": "number"}
    schema = make_schema(fields, split={"seed": seed, "by": ["length", "Sex"]})
    table = make_table(
        {
            "length": [0.0, -0.0, None, 1.5, -1e308, 5e-324, 19000.25],
            "Sex": ["x", "x", "", "y", "日本", "long " * 9, "x"],
            "y": range(7),
        }
    )
    assert keys(table, schema).tolist() == expected
    assert parts_of(table, schema) == parts


def test_every_nan_is_one_and_so_is_zero():
    fields = {"x": "number", "y": "number"}
    other_nan = np.array([0xFFF8000000000001], np.uint64).view(np.float64)[0]
    table = make_table({"x": [float("nan"), other_nan, 0.0, -0.0], "y": range(4)})
    found = keys(table, make_schema(fields)).tolist()
    assert found[0] == found[1] != found[2] == found[3]


def test_shares_are_70_15_and_15_percent():
    table = shells(20_000)
    shares = np.bincount(split_of(table, make_schema(SHELLS))) / len(table)
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.01)


# What moves a row: nothing but the row and the rule


def test_appended_rows_move_no_row():
    old, more, schema = shells(600), shells(60, seed=1), make_schema(SHELLS)
    assert parts_of(joined(old, more), schema)[:600] == parts_of(old, schema)


def test_shuffled_rows_keep_their_split():
    table, schema = shells(), make_schema(SHELLS)
    order = np.random.default_rng(3).permutation(len(table))
    assert parts_of(table.take(order), schema) == split_of(table, schema)[order].tolist()


def test_a_file_cut_into_7_parts_has_the_same_splits():
    table, schema = shells(), make_schema(SHELLS)
    cut = joined(*(table.take(rows) for rows in np.array_split(np.arange(len(table)), 7)))
    assert parts_of(cut, schema) == parts_of(table, schema)


def test_a_column_added_to_the_schema_moves_no_row():
    table = shells()
    rule = {"seed": 42, "by": ["sex", "length", "height"]}
    wider = make_table(
        {**{name: as_list(column) for name, column in table.columns.items()}, "a": [1.0] * 600}
    )
    schema = make_schema({"a": "number", **SHELLS}, split=rule)
    assert parts_of(wider, schema) == parts_of(table, make_schema(SHELLS, split=rule))
    assert schema.split_sha256 == make_schema(SHELLS, split=rule).split_sha256


def test_the_order_of_the_columns_moves_no_row():
    names = ["sex", "length", "height"]
    one, other = (make_schema(SHELLS, split={"by": by}) for by in (names, list(reversed(names))))
    assert parts_of(shells(), one) == parts_of(shells(), other)
    assert one.split_sha256 == other.split_sha256


def test_what_may_move_a_row_is_in_the_hash_of_the_rule():
    """A model made under another one may have been trained on rows that are in the test split."""

    def hash_of(seed=42, **member):
        fields = [{"name": "a", "type": "number", **member}, {"name": "y", "type": "number"}]
        return schema_of("regression", fields, split={"seed": seed, "by": ["a"]}).split_sha256

    plain = hash_of()
    for other in ({"seed": 43}, {"missingValues": ["-999"]}, {"type": "string"}):
        assert hash_of(**other) != plain
    assert hash_of(constraints={"minimum": 0}, zeroIsOdd=True) == plain
    timed = {"time": "a", "validationFrom": "1970-01-02", "testFrom": "1970-01-03"}
    one, other = (
        schema_of(
            "regression",
            [{"name": "a", "type": "date"}, {"name": "y", "type": "number"}],
            split={**timed, "seed": seed},
        )
        for seed in (1, 2)
    )
    assert one.split_sha256 == other.split_sha256  # a split by time has no use for a seed


def test_another_split_seed_deals_the_rows_anew():
    table = shells()
    one, other = (
        split_of(table, make_schema(SHELLS, split={"seed": seed, "by": ["length", "height"]}))
        for seed in (1, 2)
    )
    assert (one != other).mean() > 0.3


def as_list(column):
    return list(column.texts) if isinstance(column, Categories) else column.tolist()


@given(
    st.lists(st.tuples(texts, finite | st.none(), finite), min_size=1, max_size=8),
    st.lists(st.tuples(texts, finite | st.none(), finite), max_size=4),
    st.integers(0, 2**32 - 1),
    st.randoms(use_true_random=False),
)
def test_a_row_falls_where_it_falls_alone(rows, more, seed, random):
    schema = make_schema(
        {"a": "string", "b": "number", "y": "number"}, split={"seed": seed, "by": ["a", "b"]}
    )

    def split(rows):
        a, b, y = zip(*rows, strict=True)
        return parts_of(make_table({"a": a, "b": b, "y": y}), schema)

    alone = [split([row])[0] for row in rows]
    assert split(rows) == alone
    assert split(rows + more)[: len(rows)] == alone
    places = random.sample(range(len(rows)), len(rows))
    assert split([rows[place] for place in places]) == [alone[place] for place in places]


@given(st.lists(st.tuples(texts, finite), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_no_group_is_in_two_splits(rows, seed):
    fields = {"customer": {"type": "string", "role": "id"}, "b": "number", "y": "number"}
    schema = make_schema(fields, split={"seed": seed, "group": ["customer"]})
    customers, values = zip(*rows, strict=True)
    table = make_table({"customer": customers, "b": values, "y": values})
    splits = {}
    for customer, part in zip(customers, parts_of(table, schema), strict=True):
        assert splits.setdefault(customer, part) == part


def test_row_hashes_are_equal_for_equal_rows_only():
    schema = make_schema({"a": "number", "b": "string", "y": "number"}, split={"by": ["a"]})
    table = make_table(
        {"a": [1, 1, 1, 1, -0.0, 0.0], "b": ["x", "x", "z", "x", "", ""], "y": [1, 1, 1, 2, 1, 1]}
    )
    hashes = row_hashes(table, keys(table, schema), schema).tolist()
    assert hashes[0] == hashes[1] and hashes[4] == hashes[5]
    assert len(set(hashes)) == 4


# Time


TIMED = {"day": "date", "x": "number", "y": "number"}
DATES = {"time": "day", "validationFrom": "1970-03-12", "testFrom": "1970-03-27"}


def timed(days):
    return make_table({"day": days, "x": range(len(days)), "y": range(len(days))})


def test_time_splits_before_between_and_after_two_dates():
    schema = make_schema(TIMED, split=DATES)  # the 70th and the 85th day after 1970-01-01
    assert parts_of(timed([84.99, 69, 0, 85, 70, 300]), schema) == [1, 0, 0, 2, 1, 2]
    assert check_split(timed(range(100)), schema, split_of(timed(range(100)), schema)) == []


def test_a_row_without_a_date_is_refused_with_its_line():
    with pytest.raises(BadInput, match=r"line 3, column 'day': no date in 2 row\(s\).* fill it in"):
        split_of(timed([1, None, None]), make_schema(TIMED, split=DATES))


def test_a_date_of_the_schema_that_is_none_is_refused():
    for text in ("soon", "1970-02-30", "31.12.1970"):
        with pytest.raises(SchemaError, match=f"split.testFrom is '{text}', wanted a date such as"):
            make_schema(TIMED, split={**DATES, "testFrom": text})
    schema = make_schema(TIMED, split={**DATES, "testFrom": "1970-12-31 noon"})
    with pytest.raises(BadInput, match="split.testFrom: '1970-12-31 noon' is not a date as ISO"):
        split_of(timed([1, 2]), schema)


def test_newer_data_that_leave_the_dates_old_are_told_with_dates_that_fit():
    schema = make_schema(TIMED, split=DATES)
    table = timed(range(200))
    [warning] = check_split(table, schema, split_of(table, schema))
    assert "the dates of the time split are old" in warning and "35, 8 and 58 %" in warning
    advised = {**DATES, "validationFrom": "1970-05-21", "testFrom": "1970-06-20"}
    assert advised["validationFrom"] in warning and advised["testFrom"] in warning
    schema = make_schema(TIMED, split=advised)
    assert np.bincount(split_of(table, schema)).tolist() == [140, 30, 30]


def test_a_time_split_without_test_rows_is_refused_with_dates_that_fit():
    schema, table = make_schema(TIMED, split=DATES), timed(range(80))
    with pytest.raises(BadInput, match="the test split has no rows; set split.validationFrom to"):
        check_split(table, schema, split_of(table, schema))


def test_a_class_missing_in_a_time_split_is_refused_with_its_dates():
    fields = {"day": "date", "x": "number", "y": "string"}
    schema = make_schema(fields, problem="binary", positive="yes", split=DATES)
    labels = ["yes" if day < 75 else "no" for day in range(100)]
    table = make_table({"day": range(100), "x": range(100), "y": labels})
    message = (
        "class 'no' of column 'y' has no row in train; its rows are from 1970-03-17 to 1970-04"
    )
    with pytest.raises(BadInput, match=message):
        check_split(table, schema, split_of(table, schema))


@given(st.lists(st.integers(-700_000, 2_900_000), min_size=3, max_size=40, unique=True))
def test_advised_dates_leave_no_split_empty(days):
    first, second = split_dates(np.array(days, np.float64), make_schema(TIMED).field("day"))
    schema = make_schema(TIMED, split={"time": "day", "validationFrom": first, "testFrom": second})
    assert set(parts_of(timed(days), schema)) == {0, 1, 2}


def test_advised_times_have_seconds():
    field = make_schema({**TIMED, "day": "datetime"}).field("day")
    dates = split_dates(np.arange(100) / 4, field)
    assert dates == ("1970-01-18T12:00:00Z", "1970-01-22T06:00:00Z")


# Checks


def labelled(labels, values=None):
    values = range(len(labels)) if values is None else values
    return make_table({"x": values, "y": labels})


def classes(seed=42, **members):
    fields = {"x": "number", "y": "string"}
    members = {"problem": "binary", "positive": "yes", **members}
    return make_schema(fields, split={"seed": seed, "by": ["x"]}, **members)


def failing_seed(table, make=classes):
    for seed in range(10_000):
        try:
            check_split(table, make(seed), split_of(table, make(seed)))
        except BadInput as error:
            return str(error)
    raise AssertionError("no seed leaves a class out")


def test_a_class_missing_in_a_split_is_refused_with_a_seed_that_works():
    table = labelled(["yes"] * 20 + ["no"] * 200)
    message = failing_seed(table)
    assert "class 'yes' of column 'y' has no row in" in message
    seed = int(message.split("set split.seed to ")[1].split()[0])
    check_split(table, classes(seed), split_of(table, classes(seed)))  # is not refused


def test_the_advised_seed_suits_all_classes():
    names = [f"class {number:02}" for number in range(12)]
    table = labelled(names * 20)

    def make(seed):
        return classes(seed, problem="multiclass", positive="")

    message = failing_seed(table, make)
    seed = int(message.split("set split.seed to ")[1].split()[0])
    check_split(table, make(seed), split_of(table, make(seed)))


def test_where_no_seed_works_the_rows_to_add_are_told():
    table = labelled(["yes"] * 50 + ["no"] * 200, [1, 2] * 25 + list(range(3, 203)))
    message = failing_seed(table)
    assert "no seed was found that works: add at least 18 row(s) of class 'yes'" in message
    assert "other values of 'x' (2 now; rows with equal ones stay together)" in message


def test_an_empty_split_is_refused():
    table = make_table({"x": [1] * 30 + [2] * 30, "y": range(60)})
    schema = make_schema({"x": "number", "y": "number"}, split={"by": ["x"]})
    with pytest.raises(BadInput, match=r"split has no rows; no seed .* add at least 18 row\(s\)"):
        check_split(table, schema, split_of(table, schema))


def test_few_distinct_keys_are_told_with_the_shares_they_gave():
    table = make_table({"x": list(range(24)) * 100, "y": range(2400)})
    schema = make_schema({"x": "number", "y": "number"}, split={"seed": 7, "by": ["x"]})
    [warning] = check_split(table, schema, split_of(table, schema))
    assert "of the rows, wanted 70, 15 and 15 %: 24 distinct value(s) of the split's 'x'" in warning


def test_many_keys_give_no_warning():
    table, schema = shells(4_000), make_schema(SHELLS)
    assert check_split(table, schema, split_of(table, schema)) == []


def test_rows_without_a_group_are_told():
    customers = [f"c{number}" for number in range(1_000)] + [""] * 30
    fields = {"customer": {"type": "string", "role": "id"}, "x": "number", "y": "number"}
    schema = make_schema(fields, split={"group": ["customer"]})
    table = make_table({"customer": customers, "x": range(1030), "y": range(1030)})
    [warning] = check_split(table, schema, split_of(table, schema))
    assert (
        "by which rows are grouped into splits, has no value in 30 row(s): they count as one group"
        in warning
    )


def test_classes_are_in_numeric_or_in_text_order():
    codes, names = classes_of(np.array([10.0, 9.0, 10.0, -1.0]))
    assert (codes.tolist(), names) == ([2, 1, 2, 0], ("-1", "9", "10"))
    column = Categories.of(["b", "10", "9", "b", "gone"]).take(slice(0, 4))
    codes, names = classes_of(column)
    assert (codes.tolist(), names) == ([2, 0, 1, 2], ("10", "9", "b"))
