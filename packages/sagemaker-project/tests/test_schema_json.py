"""The JSON Schema for editors says what `read_schema` says, for all that JSON Schema can say."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from sagemaker_project.tabular import schema
from sagemaker_project.tabular.cells import BadCell, days

pytestmark = pytest.mark.fast

FILE = Path(schema.__file__).with_name("schema.schema.json")
VALIDATOR = jsonschema.Draft202012Validator(json.loads(FILE.read_text()))

REGRESSION = {
    "$schema": "./schema.schema.json",
    "fields": [
        {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"]}},
        {"name": "length", "type": "number", "constraints": {"minimum": 0, "maximum": 2}},
        {"name": "seen", "type": "date", "format": "%d.%m.%Y", "missingValues": ["-"]},
        {"name": "ripe", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
        {"name": "rings", "type": "integer", "role": "label"},
    ],
    "missingValues": ["", "na"],
    "label": "rings",
    "problem": "regression",
    "metric": {"name": "mse", "at_most": 6},
    "facets": ["sex"],
    "split": {"seed": 1, "by": ["sex"]},
    "file": {"format": "csv", "encoding": "utf-16", "delimiter": ";", "decimal": ","},
}
BINARY = {
    **REGRESSION,
    "problem": "binary",
    "positive": "1",
    "metric": {"name": "auc", "at_least": 0.6},
    "split": {"time": "seen", "validationFrom": "2024-01-01", "testFrom": "2024-02-01"},
}
MULTICLASS = {
    **REGRESSION,
    "problem": "multiclass",
    "metric": {"name": "log_loss", "at_most": 0.6},
    "split": {"group": ["length"]},
}
DOCUMENTS = (REGRESSION, BINARY, MULTICLASS)
VALUES = (None, True, 0, -1, 1.5, 2**40, "", "sex", " sex", "sex\n", "binary", "auc", [], ["sex"])
VALUES += (["sex", "sex"], [1], {}, {"name": "r2", "at_least": 0.1}, {"name": "mse"}, {"x": 1})

# What JSON Schema cannot say: names that refer to fields, and one number above another.
REFERENCES = (
    *("is not the name of a field", "which is not a", "is duplicated", "the label is of type"),
    *("role is", "none has the role", "minimum is above", "must be before", "which is no date"),
    *("and only it", "facets names", "split names"),
    *("wanted a pattern of strptime", "wanted a date such as"),
)


def accepts(document):
    """Return whether read_schema takes it; None where the reason is beyond JSON Schema."""
    try:
        schema.read_schema(json.dumps(document).encode())
    except schema.SchemaError as error:
        return None if any(words in str(error) for words in REFERENCES) else False
    return True


def places(value, path=()):
    """Yield the path of every member and item of a document."""
    items = value.items() if isinstance(value, dict) else ()
    for key, member in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from places(member, (*path, key))


def mutants(document):
    """Yield the document with one place removed, added or replaced by another value."""
    for *path, last in places(document):
        for value in ("removed", "added", *VALUES):
            mutant = copy.deepcopy(document)
            parent = mutant
            for key in path:
                parent = parent[key]
            if value == "removed":
                del parent[last]
            elif value == "added" and isinstance(parent, dict):
                parent["unknown"] = 1
            else:
                parent[last] = value
            yield [*path, last], value, mutant


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["problem"])
def test_the_examples_are_accepted(document):
    assert accepts(document)
    VALIDATOR.validate(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["problem"])
def test_both_accept_and_refuse_the_same(document):
    seen = {True: 0, False: 0}
    for path, value, mutant in mutants(document):
        wanted = accepts(mutant)
        if wanted is None:
            continue
        seen[wanted] += 1
        assert VALIDATOR.is_valid(mutant) == wanted, (path, value)
    assert min(seen.values()) > 20


def test_every_word_is_in_both():
    """A type, metric, encoding or the like that only one of them knows."""
    content = json.loads(FILE.read_text())
    definitions = content["$defs"]
    assert definitions["Field"]["properties"]["type"]["enum"] == list(schema.TYPES)
    assert definitions["Field"]["properties"]["role"]["enum"] == list(schema.ROLES)
    assert content["properties"]["problem"]["enum"] == list(schema.PROBLEMS)
    assert content["properties"]["missingValues"]["default"] == list(schema.MISSING)
    file = definitions["File"]["properties"]
    assert file["delimiter"]["enum"] == list(schema.DELIMITERS)
    assert file["encoding"]["enum"] == list(schema.ENCODINGS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["problem"])
def test_every_metric_is_known_under_its_bound_only(document):
    for name, more_is_better in schema.METRICS[document["problem"]].items():
        for bound in ("at_least", "at_most"):
            changed = {**document, "metric": {"name": name, bound: 0.5}}
            wanted = (bound == "at_least") == more_is_better
            assert VALIDATOR.is_valid(changed) == wanted == accepts(changed)


def with_format(pattern):
    fields = [{"name": "day", "type": "date", "format": pattern}, *REGRESSION["fields"]]
    return schema.read_schema(json.dumps({**REGRESSION, "fields": fields}).encode()).field("day")


@pytest.mark.parametrize("pattern", ["%Q", "%", "%d%d", "DD.MM.YYYY", "any"])
def test_a_pattern_that_reads_no_date_is_refused(pattern):
    with pytest.raises(schema.SchemaError, match=r"fields\[0\]\.format is .* wanted a pattern"):
        with_format(pattern)


@pytest.mark.parametrize("pattern", ["%d.%m.%Y", "%Y-%m-%dT%H:%M:%S%z", "%b %y", "%I:%M %p", "%Z"])
def test_a_pattern_is_kept(pattern):
    assert with_format(pattern).format == pattern


def test_the_default_format_of_table_schema_is_iso_8601():
    assert with_format("default").format == ""


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_moment_outside_of_the_years_1_to_9999_is_no_date(text):
    with pytest.raises(BadCell, match="is not a date as ISO 8601"):
        days(text)


def test_a_positive_class_that_means_no_value_is_refused():
    with pytest.raises(schema.SchemaError, match="positive is 'NA', which is in missingValues"):
        schema.read_schema(json.dumps({**BINARY, "positive": "NA"}).encode())


def test_a_number_that_is_too_large_is_refused():
    with pytest.raises(schema.SchemaError, match="at_most is inf, wanted a finite number"):
        metric = {"name": "mse", "at_most": 10**400}
        schema.read_schema(json.dumps({**REGRESSION, "metric": metric}).encode())
