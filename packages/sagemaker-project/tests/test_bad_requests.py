"""Rows 37 to 39 of the bad inputs: what clients get wrong, at an endpoint of the real model.

A client's mistake is a 4xx with a reason in JSON, never a 5xx, and the model stays up.
"""

import json

import pytest
from botocore.exceptions import ClientError
from deploy_helpers import BUCKET, IMAGE, ROLE, SERVING, unique, wait

pytestmark = pytest.mark.acceptance  # a model is trained for it

LIMIT = 6_291_456
NAMES = (
    *("sex", "length", "diameter", "height", "whole_weight", "shucked_weight"),
    *("viscera_weight", "shell_weight"),
)
ROW = "M,0.455,0.365,0.095,0.514,0.2245,0.101,0.15"
VALUES = ["M", 0.455, 0.365, 0.095, 0.514, 0.2245, 0.101, 0.15]
RECORD = dict(zip(NAMES, VALUES, strict=True))
SWAPPED = "0.455,M,0.365,0.095,0.514,0.2245,0.101,0.15"
CSV, JSON = "text/csv", "application/json"

# What is sent: (Content-Type, body, status, what the reason says).
BAD_BODIES = {
    "empty CSV": (CSV, "", 400, "the body is empty"),
    "blank lines": (CSV, "\n\n", 400, "the body is empty"),
    "empty JSON": (JSON, "", 400, "the body is empty"),
    "bad JSON": (JSON, "[[1, 2", 400, "the body is not JSON"),
    "two JSON documents": (JSON, "[] []", 400, "the body is not JSON"),
    "JSON of nothing": (JSON, "[]", 400, "no record"),
    "a JSON number": (JSON, "7", 400, "expected a record"),
    "JSON too deep": (JSON, "[" * 50_000, 400, "the body is not JSON"),
    "CSV as JSON": (JSON, ROW, 400, "the body is not JSON"),
    "JSON as CSV": (CSV, json.dumps([VALUES]), 400, "row 1"),
    "too narrow": (CSV, ROW.rpartition(",")[0], 400, "row 1: 7 values, expected 8"),
    "too wide": (CSV, f"{ROW},9", 400, "row 1: 9 values, expected 8"),
    "the label as well": (CSV, f"{ROW}\n{ROW},15", 400, "row 2: 9 values, expected 8"),
    "JSON too narrow": (JSON, json.dumps([VALUES[:-1]]), 400, "row 1: 7 values, expected 8"),
    "a column is missing": (JSON, json.dumps({**RECORD, "sex": ...}, default=id), 400, "'sex'"),
    "a column too many": (
        JSON,
        json.dumps({**RECORD, "rings": 15}),
        400,
        "'rings' is not a column",
    ),
    "a column twice": (JSON, '{"sex": "M", "sex": "F"}', 400, "'sex' twice"),
    "no column": (JSON, json.dumps([{}]), 400, "column 'sex': not there"),
    "text in CSV": (
        CSV,
        ROW.replace("0.455", "big"),
        400,
        "'length': 'big' is not a finite number",
    ),
    "infinity in CSV": (CSV, ROW.replace("0.455", "inf"), 400, "is not a finite number"),
    "1e400 in CSV": (CSV, ROW.replace("0.455", "1e400"), 400, "is not a finite number"),
    "NaN in JSON": (JSON, '[["M", NaN, 1, 1, 1, 1, 1, 1]]', 400, "NaN is not a JSON value"),
    "1e400 in JSON": (JSON, '[["M", 1e400, 1, 1, 1, 1, 1, 1]]', 400, "is not a finite number"),
    "true": (JSON, '[["M", true, 1, 1, 1, 1, 1, 1]]', 400, "true is not a finite number"),
    "wrong order": (CSV, SWAPPED, 400, "row 1, column 'length': 'M' is not a finite number"),
    "wrong order in row 3": (CSV, f"{ROW}\n{ROW}\n{SWAPPED}", 400, "row 3, column 'length'"),
    "wrong order in JSON": (JSON, json.dumps([VALUES[::-1]]), 400, "'sex': 0.15 is not a string"),
    "a header": (CSV, ",".join(NAMES), 400, "row 1 is a header line"),
    "other delimiter": (CSV, ROW.replace(",", ";"), 400, "1 values, expected 8"),
    "an open quote": (CSV, f'"{ROW}', 400, "the body is not CSV"),
    "no UTF-8": (CSV, b"\xff\xfe" + ROW.encode("utf-16-le"), 400, "is not UTF-8"),
    "Latin-1": (CSV, ROW.replace("M", "mâle").encode("latin-1"), 400, "is not UTF-8"),
    "JSON in Latin-1": (JSON, '["mâle"]'.encode("latin-1"), 400, "is not UTF-8"),
    "gzip": (CSV, b"\x1f\x8b\x08\x00\x00", 400, "is not UTF-8"),
    "NUL": (CSV, ROW.replace("0.455", "0\0"), 400, ""),
    "no Content-Type": (None, ROW, 400, "the body is not JSON"),  # the container's default
    "an empty one": ("", ROW, 400, "the body is not JSON"),
    "an unknown one": ("application/xml", ROW, 415, "not 'application/xml'"),
    "any": ("*/*", ROW, 415, "not '*/*'"),
    "half of one": ("text", ROW, 415, "not 'text'"),
    "NPY": ("application/x-npy", b"\x93NUMPY\x01\x00", 415, "x-npy"),
    "pickle": ("application/x-pickle", b"\x80\x04N.", 415, "x-pickle"),
    "Python pickle": ("application/python-pickle", b"\x80\x04N.", 415, "python-pickle"),
    "octets": ("application/octet-stream", b"\x80\x04N.", 415, "octet-stream"),
    "another charset": ("text/csv; charset=utf-16", ROW, 415, "charset utf-16 is not supported"),
}
BAD_ACCEPTS = ("image/png", "application/x-npy", "application/x-pickle", "text/html", "csv")
GOOD = {
    "CSV": (CSV, ROW),
    "with a charset": ("text/csv; charset=utf-8", ROW),
    "quoted": ('text/csv;charset="UTF-8"', ROW),
    "header=absent": ("text/csv; header=absent", ROW),
    "in capitals": ("TEXT/CSV", ROW),
    "JSON": (JSON, json.dumps([VALUES])),
    "JSON in capitals": ("Application/JSON; Charset=UTF-8", json.dumps({"instances": [VALUES]})),
    "columns by name, in any order": (JSON, json.dumps(dict(reversed(RECORD.items())))),
    "one record": (JSON, json.dumps(VALUES)),
    "JSON without a Content-Type": (None, json.dumps([VALUES])),
    "JSON with a byte order mark": (JSON, b"\xef\xbb\xbf" + json.dumps([VALUES]).encode()),
    "CRLF": (CSV, f"{ROW}\r\n"),
    "with a byte order mark": (CSV, b"\xef\xbb\xbf" + ROW.encode()),
}
GOOD_ACCEPTS = {
    None: JSON,
    "*/*": JSON,
    "application/json": JSON,
    "APPLICATION/JSON; q=0.9": JSON,
    "text/csv": CSV,
    "text/csv; charset=utf-8": CSV,
    "TEXT/CSV": CSV,
    "image/png, text/csv": CSV,
}


class Endpoint:
    def __init__(self, cloud, name):
        self.name = name
        self.runtime = cloud.client("sagemaker-runtime", read_timeout=60)

    def ask(self, body, content_type=CSV, accept=None):
        members = {"ContentType": content_type, "Accept": accept}
        members = {name: value for name, value in members.items() if value is not None}
        return self.runtime.invoke_endpoint(EndpointName=self.name, Body=body, **members)

    def predictions(self, *request):
        return json.loads(self.ask(*request)["Body"].read())["predictions"]

    def refusal(self, *request):
        """(status, reason) that the model's container gave."""
        with pytest.raises(ClientError) as caught:
            self.ask(*request)
        answer = caught.value.response
        assert answer["Error"]["Code"] == "ModelError", answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
        return answer["OriginalStatusCode"], json.loads(answer["OriginalMessage"])["error"]


@pytest.fixture(scope="module")
def endpoint(cloud, built):
    name = unique("real")
    body = (built / "model/model.tar.gz").read_bytes()
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{name}/model.tar.gz", Body=body)
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://{BUCKET}/{name}/model.tar.gz",
        "Environment": {**SERVING, "OMP_NUM_THREADS": "1"},
    }
    cloud.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.m5.large"}
    cloud.sm.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    cloud.sm.create_endpoint(EndpointName=name, EndpointConfigName=name)
    found = wait(
        lambda: cloud.sm.describe_endpoint(EndpointName=name), "EndpointStatus", ("Creating",), 60
    )
    assert found["EndpointStatus"] == "InService", found
    return Endpoint(cloud, name)


@pytest.fixture
def alive(endpoint):
    """The endpoint, which gives the same answer after the test as before."""
    before = endpoint.predictions(ROW)
    yield endpoint
    assert endpoint.predictions(ROW) == before


@pytest.mark.parametrize("case", BAD_BODIES)
def test_rows_37_to_39_a_bad_request_gets_a_4xx_and_a_reason(alive, case):
    content_type, body, wanted, reason = BAD_BODIES[case]
    status, said = alive.refusal(body, content_type)
    assert status == wanted, said
    assert reason in said and "Traceback" not in said and "\n" not in said.strip()


@pytest.mark.parametrize("accept", BAD_ACCEPTS)
def test_row_38_an_answer_in_another_form_is_a_406(alive, accept):
    status, said = alive.refusal(ROW, CSV, accept)
    assert status == 406 and accept in said and "application/json or text/csv" in said


@pytest.mark.parametrize("case", GOOD)
def test_row_38_parameters_and_case_are_tolerated(alive, case):
    content_type, body = GOOD[case]
    assert alive.predictions(body, content_type) == alive.predictions(ROW)


@pytest.mark.parametrize("accept", GOOD_ACCEPTS)
def test_row_38_the_form_of_the_answer_is_chosen(alive, accept):
    answer = alive.ask(ROW, CSV, accept)
    assert answer["ContentType"].partition(";")[0] == GOOD_ACCEPTS[accept]
    [expected] = alive.predictions(ROW)
    text = answer["Body"].read().decode()
    found = json.loads(text)["predictions"] if GOOD_ACCEPTS[accept] == JSON else [float(text)]
    assert found == [expected]


def test_row_37_one_row_and_a_hundred_thousand_get_the_same_answer(alive):
    [one] = alive.predictions(ROW)
    body = "\n".join([ROW] * 100_000)
    assert len(body) < LIMIT
    many = alive.predictions(body)
    assert len(many) == 100_000
    assert max(many) - min(many) == 0 and many[0] == pytest.approx(one, abs=1e-9)


def test_row_37_the_limit_of_a_body_is_sagemaker_s(alive):
    full = ROW + "\n" * (LIMIT - len(ROW))
    assert alive.predictions(full) == alive.predictions(ROW)
    for body in (full + "\n", "x" * 7_340_032):
        with pytest.raises(ClientError) as caught:
            alive.ask(body)
        answer = caught.value.response
        assert answer["Error"]["Code"] == "ValidationError", answer  # before the model saw it
        assert "less than or equal to 6291456" in answer["Error"]["Message"]
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_row_37_thousands_of_bad_requests_do_no_harm(alive):
    for number in range(300):
        content_type, body, wanted, _ = list(BAD_BODIES.values())[number % len(BAD_BODIES)]
        assert alive.refusal(body, content_type)[0] == wanted
