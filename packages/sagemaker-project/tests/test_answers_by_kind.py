"""Answers of models of every kind: numbers, class names, probabilities, lists and objects."""

import json

import pytest
from sagemaker_project.deploy.answers import (
    OtherForm,
    cell_differences,
    differences,
)
from sagemaker_project.deploy.endpoint_test import read_samples, report_html, run_test, summary
from sagemaker_project.errors import UsageError
from test_endpoint_test import ABOUT, CSV, JSON, Endpoint, failed

pytestmark = pytest.mark.fast

CLASSES = ("no", "yes", "no, never")


def prediction(body):
    """What the model below answers for a record: the more, the more likely is yes."""
    value = float(body)
    shares = [0.5 - value / 4, value / 2, 0.5 - value / 4]
    return {
        "predicted_label": CLASSES[shares.index(max(shares))],
        "probabilities": dict(zip(CLASSES, shares, strict=True)),
    }


def in_csv(answer):
    label = answer["predicted_label"]
    quoted = f'"{label}"' if "," in label else label
    return ",".join([quoted, *map(repr, answer["probabilities"].values())])


class Classifier(Endpoint):
    """An endpoint of a classifier; a record is one number from 0 to 1."""

    def answer(self, content_type, accept, body):
        records = [prediction(line) for line in body.decode().split()]
        text = json.dumps({"predictions": records})
        if accept == CSV:
            text = "\n".join(map(in_csv, records))
        return {"Body": text, "ContentType": accept, "InvokedProductionVariant": "AllTraffic"}


def sample(accept, *records, expected=None):
    body = "\n".join(records)
    expected = expected or list(map(prediction, records))
    return {"content_type": CSV, "accept": accept, "body": body, "expected": expected}


def run(samples, change=None, **limits):
    content = {"samples": samples, "malformed": []}
    recorded = read_samples(json.dumps(content).encode(), None)
    endpoint = Classifier(change) if change else Classifier()
    result = run_test(endpoint, "e", recorded, {"Requests": 4, **limits}, smoke=True)
    json.dumps(result, allow_nan=False)
    report_html(result | ABOUT)
    return result


def replaced(old, new):
    return lambda answer, _: answer | {"Body": answer["Body"].replace(old, new)}


@pytest.mark.parametrize("accept", [JSON, CSV])
def test_class_names_and_probabilities_are_compared(accept):
    result = run([sample(accept, "0.1", "0.9"), sample(accept, "0.9")])
    assert result["Status"] == "Passed", summary(result)


@pytest.mark.parametrize(
    "expected",
    [
        [["yes", 0.275, 0.45, 0.275]],
        ["yes,0.275,0.45,0.275"],
        [["yes", [0.275, 0.45, 0.275]]],
        [{"label": "yes", "a": 0.275, "b": 0.45, "c": 0.275}],
    ],
    ids=["list", "line", "nested", "object"],
)
def test_a_line_of_csv_may_be_recorded_in_any_form(expected):
    assert run([sample(CSV, "0.9", expected=expected)])["Status"] == "Passed"


@pytest.mark.parametrize("accept", [JSON, CSV])
def test_a_probability_that_is_away_is_named_with_its_place(accept):
    result = run([sample(accept, "0.1", "0.9")], replaced("0.45", "0.46"))
    assert failed(result) == ["Values"]
    where = "sample 1: record 2 probabilities.yes: 0.46, wanted 0.45, 0.01 away"
    assert where in summary(result)
    [worst] = result["Worst"]
    wanted = {"Where": ".probabilities.yes", "Expected": 0.45, "Found": 0.46}
    deviation = pytest.approx(0.01)
    assert worst == {"Sample": 1, "Record": 2, **wanted, "Deviation": deviation}
    assert "probabilities.yes" in report_html(result | ABOUT)
    samples = [sample(accept, "0.1", "0.9")]
    assert run(samples, replaced("0.45", "0.46"), Tolerance=0.02)["Status"] == "Passed"


@pytest.mark.parametrize(
    ("accept", "old"), [(JSON, 'predicted_label": "yes'), (CSV, "yes")], ids=["json", "csv"]
)
def test_another_class_name_fails_whatever_the_tolerance(accept, old):
    result = run([sample(accept, "0.95")], replaced(old, f"{old} "), Tolerance=1e9)
    assert failed(result) == ["Values"]
    assert 'record 1 predicted_label: "yes ", wanted "yes"' in summary(result)
    assert result["Worst"][0]["Deviation"] is None
    assert "another value" in report_html(result | ABOUT)


@pytest.mark.parametrize(
    ("old", "new", "check", "message"),
    [
        ('"yes": 0.45', '"yes": "0.45"', "Form", 'probabilities.yes: text "0.45", wanted a number'),
        ('"yes": 0.45', '"Yes": 0.45', "Form", "record 1 probabilities: the keys no, Yes, "),
        ('"yes": 0.45', '"yes": true', "Form", "probabilities.yes: a boolean true"),
        ('"yes": 0.45', '"yes": [0.45]', "Form", "probabilities.yes: [0.45], wanted 0.45"),
        ('"yes": 0.45', '"yes": null', "Form", "probabilities.yes: null null, wanted a number"),
        ('"yes": 0.45', '"yes": NaN', "Finite predictions", "record 1 probabilities.yes: nan"),
        ('"yes": 0.45', '"yes": 1' + "0" * 400, "Form", "sample 1: "),
    ],
)
def test_answers_of_another_form_fail(old, new, check, message):
    result = run([sample(JSON, "0.9")], replaced(old, new))
    assert failed(result) == [check]
    assert message in summary(result)


@pytest.mark.parametrize(
    ("new", "check", "message"),
    [
        ("", "Form", "sample 1: empty"),
        ("yes,0.45", "Form", "record 1: 2 cells, wanted 4"),
        ("yes,0.275,nan,0.275", "Finite predictions", "record 1 probabilities.yes: nan"),
        ("yes,0.275,much,0.275", "Values", 'probabilities.yes: "much", wanted 0.45'),
        ("yes,0.275,0.4_5,0.275", "Values", 'probabilities.yes: "0.4_5", wanted 0.45'),
        ('"yes', "Form", 'sample 1: "yes'),
        ("yes,0.275,0.45,0.275\nyes,1,2,3", "Number of predictions", "2 for 1 records"),
    ],
)
def test_lines_of_csv_of_another_form_fail(new, check, message):
    result = run([sample(CSV, "0.9")], lambda answer, _: answer | {"Body": new})
    assert failed(result) == [check]
    assert message in summary(result)


def test_cells_are_numbers_where_both_are():
    assert not list(cell_differences("1,007,a", ["1.0", "7", "a"]))
    assert [str(one) for one in cell_differences(["1", "b"], ["x", "b"])] == ['"x", wanted "1"']


def test_a_class_name_may_hold_the_end_of_a_line():
    body = '"two\nlines",0.5\r\n"a ""quote""",0.25\r\n'
    expected = [["two\nlines", 0.5], {"label": 'a "quote"', "score": 0.25}]
    recorded = [sample(CSV, "0.1", "0.9", expected=expected)]
    assert run(recorded, lambda answer, _: answer | {"Body": body})["Status"] == "Passed"


def test_json_values_are_compared_by_kind():
    assert not list(differences({"a": [1, None, True]}, {"a": [1.0, None, True]}))
    [one] = differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 5}]})
    assert (one.where, one.distance) == (".a[1].b", 3.0)
    for other in (True, "1", None, [1], {"a": 1}):
        with pytest.raises(OtherForm):
            list(differences(1, other))


@pytest.mark.parametrize("expected", ["a\nb", '"a', ""])
def test_recorded_text_that_is_no_line_of_csv_is_refused(expected):
    recorded = sample(CSV, "1") | {"expected": [expected]}
    content = {"samples": [recorded], "malformed": []}
    with pytest.raises(UsageError, match=r"samples\.json: not as evaluate\.py writes it: "):
        read_samples(json.dumps(content).encode(), None)


@pytest.mark.parametrize("expected", ["1e999", '{"a": [1e999]}', "[]", "{}", '{"a": []}'])
def test_a_recorded_prediction_without_finite_values_is_refused(expected):
    body = '{"samples": [{"content_type": "text/csv", "accept": "text/csv", "body": "1",'
    body += f' "expected": [{expected}]}}], "malformed": []}}'
    with pytest.raises(UsageError, match=r"samples\.json: not as evaluate\.py writes it: "):
        read_samples(body.encode(), None)
