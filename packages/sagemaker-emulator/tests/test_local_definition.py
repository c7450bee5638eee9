"""The pipeline language without a server: references, functions, conditions, mistakes."""

import contextlib
import functools
import json
import math
import operator

import pytest
from local_helpers import (
    compare,
    condition,
    definition,
    fail,
    get,
    join,
    json_get,
    parameter,
    processing,
    s3_output,
    step,
)
from sagemaker_emulator.errors import AwsError
from sagemaker_emulator.pipelines.definition import parse
from sagemaker_emulator.pipelines.parameters import parameter_values
from sagemaker_emulator.pipelines.resolver import ExpressionError, Scope, holds, resolve, tokens
from sagemaker_emulator.pipelines.steps import PROPERTIES

pytestmark = pytest.mark.fast

SCOPE = Scope(
    parameters={"N": 3, "Rate": 0.5, "Flag": True, "Name": "ada"},
    execution={"PipelineExecutionId": "abc"},
    steps={
        "Train-1": {"ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"}, "Scores": [1, 2]},
        "Prep": {
            "ProcessingOutputConfig": {
                "Outputs": [
                    {"OutputName": "test", "S3Output": {"S3Uri": "s3://b/test"}},
                    {"OutputName": "train", "S3Output": {"S3Uri": "s3://b/train"}},
                ]
            }
        },
    },
    files={
        ("Eval", "Report"): {
            "m": {"mse": {"value": 4.5}, "a.b": 1, "list": [{"x": 7}], "none": None},
            "nan": math.nan,
            "text": "4.5",
        },
        ("Eval", "Broken"): ExpressionError("s3://b/x.json is not JSON"),
    },
)


@pytest.mark.parametrize(
    "expression, value",
    [
        (7, 7),
        ({"a": [get("Parameters.N"), {"b": None}]}, {"a": [3, {"b": None}]}),
        (get("Execution.PipelineExecutionId"), "abc"),
        (get("Steps.Train-1.ModelArtifacts.S3ModelArtifacts"), "s3://b/m"),
        (get("Steps.Train-1.Scores[1]"), 2),
        (get("Steps.Prep.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri"), "s3://b/train"),
        (get('Steps.Prep.ProcessingOutputConfig.Outputs["test"].S3Output.S3Uri'), "s3://b/test"),
        (join("s3:/", get("Parameters.Name"), get("Parameters.N"), on="/"), "s3://ada/3"),
        (join(get("Parameters.Rate"), get("Parameters.Flag"), on=" "), "0.5 true"),
        (join("x", join("y", "z", on="-")), "xy-z"),
        (json_get("Eval", "Report", "m.mse.value"), 4.5),
        (json_get("Eval", "Report", "$.m.mse.value"), 4.5),
        (json_get("Eval", "Report", "m['a.b']"), 1),
        (json_get("Eval", "Report", "m.list[0].x"), 7),
        (join("mse=", json_get("Eval", "Report", "m.mse.value")), "mse=4.5"),
        # Plain data that only looks like a function call stays what it is.
        ({"Get": "x", "Other": 1}, {"Get": "x", "Other": 1}),
    ],
)
def test_resolves(expression, value):
    assert resolve(expression, SCOPE) == value


@pytest.mark.parametrize(
    "expression, words",
    [
        (get("Parameters.Missing"), ["Missing", "N, Rate"]),
        (get("Steps.Prep.ProcessingOutputConfig.Outputs['x'].S3Output"), ["'x'", "list of 2"]),
        (get("Steps.Train-1.Scores[2]"), ["no 2"]),
        (get("Parameters.Name[0]"), ["no 0", '"ada"']),
        (get("Somewhere.X"), ["Parameters, Execution or Steps"]),
        (get("Steps.Train-1.Scores["), ["cannot read", "character"]),
        (json_get("Eval", "Report", "m.rmse.value"), ["m.rmse.value", "Report", "mse"]),
        (json_get("Eval", "Report", "nan"), ["'nan'", "not a number"]),
        (json_get("Eval", "Broken", "m"), ["not JSON", "path 'm'"]),
        (json_get("Other", "Report", "m"), ["Other", "has not run"]),
        (join("a", {"b": 1}), ["cannot join"]),
        (join("a", json_get("Eval", "Report", "m.none")), ["cannot join null"]),
    ],
)
def test_an_expression_that_cannot_be_resolved_is_explained(expression, words):
    with pytest.raises(ExpressionError) as error:
        resolve(expression, SCOPE)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_resolving_changes_nothing():
    expression = {"a": [get("Parameters.N")]}
    before = json.dumps(expression)
    resolve(expression, SCOPE)
    assert json.dumps(expression) == before


@pytest.mark.parametrize("path", ["a", "a.b", "a['b.c'][0].d", 'a["b"]'])
def test_reads_paths(path):
    assert tokens(path)[0] == "a"


MSE = json_get("Eval", "Report", "m.mse.value")


@pytest.mark.parametrize(
    "question, outcome",
    [
        (compare("Equals", get("Parameters.N"), 3), True),
        (compare("Equals", get("Parameters.Name"), "bob"), False),
        (compare("Equals", get("Parameters.Flag"), True), True),
        (compare("GreaterThan", MSE, 4.5), False),
        (compare("GreaterThanOrEqualTo", MSE, 4.5), True),
        (compare("LessThan", MSE, 4.5), False),
        (compare("LessThanOrEqualTo", MSE, 4.5), True),
        ({"Type": "In", "QueryValue": get("Parameters.Name"), "Values": ["bob", "ada"]}, True),
        ({"Type": "In", "QueryValue": get("Parameters.N"), "Values": [1, 2]}, False),
        ({"Type": "Not", "Condition": compare("LessThan", MSE, 9)}, False),
        ({"Type": "Or", "Conditions": [compare("LessThan", MSE, x) for x in (1, 9)]}, True),
    ],
)
def test_conditions(question, outcome):
    assert holds(question, SCOPE) is outcome


@pytest.mark.parametrize("kind", ["LessThan", "GreaterThan", "Equals"])
@pytest.mark.parametrize("path", ["missing", "nan", "text", "m.none", "m.list"])
@pytest.mark.parametrize("wrap", ["plain", "Not", "Or"])
def test_a_comparison_with_something_that_is_no_number_is_an_error(kind, path, wrap):
    question = compare(kind, json_get("Eval", "Report", path), 100)
    if wrap == "Not":
        question = {"Type": "Not", "Condition": question}
    if wrap == "Or":
        question = {"Type": "Or", "Conditions": [compare("Equals", 1, 1), question]}
    with pytest.raises(ExpressionError):
        holds(question, SCOPE)


JOB = processing("s3://bucket/run.py", outputs=[s3_output("train", "s3://bucket/out")])
PREP = step("Prep", "Processing", JOB)
REPORT = [{"PropertyFileName": "R", "OutputName": "train", "FilePath": "r.json"}]
OK = compare("Equals", 1, 1)


@pytest.mark.parametrize(
    "document, words",
    [
        ("not json", ["not JSON", "char 0"]),
        ("[]", ["JSON object"]),
        ({"Version": "2020-12-01"}, ["Steps", "list"]),
        ({"Steps": []}, ["Version"]),
        (definition(step("A", "Lambda", {})), ["Steps[0]", "'A'", "Lambda", "Processing"]),
        (definition(step("A b", "Fail", {})), ["Steps[0]", "Name"]),
        (definition(step("A", "Fail", None)), ["'A'", "Arguments"]),
        (definition(step("A", "Fail", {}, Extra=1)), ["'A'", "unknown member Extra"]),
        (definition(fail("A", "x"), fail("A", "y")), ["Steps[1]", "'A'", "unique"]),
        (
            definition(condition("C", [OK], [fail("A", "x")], [fail("A", "y")])),
            ["Arguments.ElseSteps[0]", "unique"],
        ),
        (definition(fail("A", "x", DependsOn=["B"])), ["DependsOn[0]", "no step 'B'", "A"]),
        (definition(fail("A", get("Parameters.P"))), ["'A'", "ErrorMessage", "no parameter 'P'"]),
        (definition(fail("A", get("Execution.Nope"))), ["Nope", "PipelineExecutionId"]),
        (definition(fail("A", get("Nope"))), ["cannot read the reference 'Nope'"]),
        (definition(fail("A", join(get("Steps.B.X")))), ["Values[0]", "no step 'B'"]),
        (definition(fail("A", {"Std:Nope": 1})), ["Std:Nope", "Std:Join"]),
        (definition(PREP, fail("A", get("Steps.Prep.Nope"))), ["no 'Nope'", "ProcessingJobArn"]),
        (
            definition(PREP, fail("A", get("Steps.Prep.ProcessingOutputConfig.Outputs['x']"))),
            ["'Prep'", "no output 'x'", "train"],
        ),
        (definition(fail("A", "x"), fail("B", get("Steps.A.X"))), ["Fail", "no properties"]),
        (definition(PREP, fail("A", json_get("Prep", "R", "x"))), ["no property file 'R'"]),
        (
            definition(PREP | {"PropertyFiles": [REPORT[0] | {"OutputName": "nope"}]}),
            ["PropertyFiles[0]", "no output 'nope'", "train"],
        ),
        (definition(condition("C", [])), ["'C'", "at least one condition"]),
        (definition(condition("C", [{"Type": "Near"}])), ["Conditions[0]", "'Near'", "LessThan"]),
        (definition(condition("C", [{"Type": "Equals"}])), ["Conditions[0]", "LeftValue"]),
        (
            definition(fail("A", "x", DependsOn=["B"]), fail("B", "x", DependsOn=["A"])),
            ["wait for each other", "A -> B"],
        ),
        (
            definition(PREP | {"CacheConfig": {"Enabled": True, "ExpireAfter": "soon"}}),
            ["'Prep'", "ExpireAfter", "P30D"],
        ),
        (definition(fail("A", "x"), parameters=[parameter("P", "Date")]), ["'P'", "Integer"]),
        (definition(fail("A", "x"), parameters=[parameter("P", "Integer", "x")]), ["'P'", "'x'"]),
        (
            definition(parameters=[parameter("P", "String", "x", EnumValues=["y"])]),
            ["'P'", "EnumValues"],
        ),
    ],
)
def test_refuses_a_definition(document, words):
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(AwsError) as error:
        parse(text, PROPERTIES)
    assert error.value.code == "ValidationException"
    message = error.value.message
    assert "\n" not in message
    assert all(word in message for word in words), message


def places(value, path=()):
    """The path of each value within a JSON document."""
    keys = value if isinstance(value, dict) else range(len(value)) if type(value) is list else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def test_a_value_of_any_other_form_is_parsed_or_refused():
    model = get("Steps.Prep.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri")
    report = compare("LessThan", json_get("Prep", "R", "a.b"), get("Parameters.P"))
    isin = {"Type": "Not", "Condition": {"Type": "In", "QueryValue": 1, "Values": [1]}}
    cache = {"Enabled": True, "ExpireAfter": "PT1H"}
    either = {"Type": "Or", "Conditions": [report, isin]}
    document = definition(
        PREP | {"PropertyFiles": REPORT, "CacheConfig": cache, "DependsOn": ["Z"]},
        condition("C", [either], [fail("A", join("x", model))], [fail("B", "y")]),
        fail("Z", "z"),
        parameters=[parameter("P", "Float", 1.0, EnumValues=[1.0])],
    )
    parse(json.dumps(document), PROPERTIES)
    for *path, last in places(document):
        for other in (None, 5, "x", True, [], {}, [1], ["x"], {"a": 1}, [[]], [{}]):
            changed = json.loads(json.dumps(document))
            functools.reduce(operator.getitem, path, changed)[last] = other
            with contextlib.suppress(AwsError):
                parse(json.dumps(changed), PROPERTIES)


def test_references_order_the_steps():
    reference = get("Steps.Prep.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri")
    document = definition(
        fail("Last", join("x", reference)),
        PREP,
        condition("Gate", [OK], [fail("Inner", "x")], DependsOn=["Prep"]),
    )
    steps = parse(json.dumps(document), PROPERTIES).steps
    assert steps["Last"].after == {"Prep"}
    assert steps["Inner"].after == {"Gate"} and steps["Inner"].gate == ("Gate", True)
    assert steps["Gate"].after == {"Prep"}


@pytest.mark.parametrize(
    "duration, seconds",
    [("PT1H", 3600), ("P30D", 2592000), ("p1w", 604800), ("P1DT1M1S", 86461)],
)
def test_cache_durations(duration, seconds):
    config = {"Enabled": True, "ExpireAfter": duration}
    parsed = parse(json.dumps(definition(PREP | {"CacheConfig": config})), PROPERTIES)
    assert parsed.steps["Prep"].cache_seconds == seconds


PARAMETERS = parse(
    json.dumps(
        definition(
            fail("A", "x"),
            parameters=[
                parameter("S", "String", "a", EnumValues=["a", "b"]),
                parameter("I", "Integer", 1),
                parameter("F", "Float", 0.5),
                parameter("B", "Boolean", False),
                parameter("R", "String"),
            ],
        )
    ),
    PROPERTIES,
)


def test_parameters_take_their_types():
    given = {"I": "7", "F": "1e-3", "B": "True", "R": "x"}
    assert parameter_values(PARAMETERS, given) == {
        "S": "a", "I": 7, "F": 0.001, "B": True, "R": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, ["'R'", "no default"]),
        ({"R": "x", "Z": "1"}, ["'Z'", "S, I, F, B, R"]),
        ({"R": "x", "I": "1.5"}, ["'I'", "'1.5'", "Integer"]),
        ({"R": "x", "F": "much"}, ["'F'", "Float"]),
        ({"R": "x", "B": "yes"}, ["'B'", "Boolean"]),
        ({"R": "x", "S": "c"}, ["'S'", "'c'", "a, b"]),
    ],
)
def test_refuses_parameters(given, words):
    with pytest.raises(AwsError) as error:
        parameter_values(PARAMETERS, given)
    assert all(word in error.value.message for word in words), error.value.message
