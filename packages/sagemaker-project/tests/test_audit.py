"""`deploy-model audit`: from a captured prediction back to the data and the commit, link by link.

The model is one that the project's own pipeline has trained, in an emulator of these tests' own.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import boto3
import pytest
from deploy_helpers import (
    BUCKET,
    ROLE,
    Cloud,
    changing,
    environment,
    project_in,
    until,
)
from sagemaker_emulator import attach
from sagemaker_emulator import testing as faults
from sagemaker_project import deploy, pages

PAGE = pages.text("audit")
ACCEPTANCE = pytest.mark.acceptance
MODULE = "pipelines.abalone.pipeline"
ROW = "M,0.455,0.365,0.095,0.514,0.2245,0.101,0.15"
VALUES = ["M", *map(float, ROW.split(",")[1:])]
CSV, JSON = "text/csv", "application/json"
REQUESTS = [  # InferenceId, Content-Type, Accept, body
    ("one-csv", CSV, CSV, ROW),
    ("csv-charset", f"{CSV}; charset=utf-8", JSON, ROW),
    ("one-json", JSON, JSON, json.dumps([VALUES])),
    ("twice", CSV, JSON, ROW),
    ("twice", CSV, JSON, ROW.replace("0.455", "0.4")),
]
LINKS = [
    *("ledger", "endpoint configuration", "model", "model package", "model artifact", "approver"),
    *("evaluation: mse", "evaluation: samples", "training job", "execution", "definition", "data"),
    *("commit", "model card"),
]


class Audited:
    """A project whose first version serves in staging, and what was captured there."""

    def __init__(self, cloud, project):
        self.cloud, self.path = cloud, project.path
        env = cloud.local.environment | {"MODEL_EXECUTION_ROLE_ARN": ROLE}
        self.environment = {**environment(cloud), **env}
        sample = ("--input-data", "data/abalone-sample.csv")
        self._done(
            project.run(
                "run-pipeline", "--module-name", MODULE, "--role-arn", ROLE, *sample, env=env
            )
        )
        group = {"ModelPackageGroupName": "AbalonePackageGroup"}
        [package] = cloud.sm.list_model_packages(**group)["ModelPackageSummaryList"]
        self.arn = package["ModelPackageArn"]
        cloud.sm.update_model_package(
            ModelPackageArn=self.arn, ModelApprovalStatus="Approved", ApprovalDescription="good"
        )
        promote = ("promote", "--stage", "staging", "--latest-approved")
        self._done(project.run("deploy-model", *promote, env=env))
        runtime = cloud.client("sagemaker-runtime")
        for inference_id, content_type, accept, body in REQUESTS:
            runtime.invoke_endpoint(
                EndpointName="abalone-staging",
                ContentType=content_type,
                Accept=accept,
                Body=body,
                InferenceId=inference_id,
            )
        until(lambda: len(self.records()) == len(REQUESTS))

    @staticmethod
    def _done(done):
        assert done.returncode == 0, done.stdout + done.stderr

    def keys(self, prefix):
        listed = self.cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for item in listed.get("Contents", [])]

    def get(self, key):
        return self.cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def records(self):
        """{key of a capture file: its lines}, of what the requests above left."""
        keys = self.keys("datacapture-staging/")
        lines = [(key, json.loads(line)) for key in keys for line in self.get(key).splitlines()]
        sent = {request[0] for request in REQUESTS}
        return [(key, line) for key, line in lines if line["eventMetadata"]["inferenceId"] in sent]

    def package(self):
        return self.cloud.sm.describe_model_package(ModelPackageName=self.arn)

    def run(self, *words, stage="staging", in_json=True):
        """Run `deploy-model audit` in this process; return its exit code and what it printed."""
        before, folder, out = dict(os.environ), os.getcwd(), io.StringIO()
        os.environ.update(self.environment)
        os.chdir(self.path)
        try:
            flags = ["--json"] if in_json else []
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                try:
                    code = deploy.main(
                        project_in(self.path), ["audit", *words, "--stage", stage, *flags]
                    )
                except SystemExit as end:
                    code = end.code
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        text = out.getvalue()
        return code, json.loads(text) if in_json else text

    def audit(self, *words):
        code, result = self.run(*words)
        assert result["ExitCode"] == code
        return result

    @contextlib.contextmanager
    def changed(self, key, change):
        """Change an object for a while."""
        before = self.get(key)
        after = change(before)
        assert after != before
        self.cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=after)
        yield
        self.cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=before)


@pytest.fixture(scope="module")
def audited(make_project, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
        patch.setenv("SAGEMAKER_LOCAL_FAULTS", "1")
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        with attach(state=tmp_path_factory.mktemp("state")) as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket=BUCKET)
            yield Audited(cloud, make_project())


def statuses(audit):
    return {link["Name"]: link["Status"] for link in audit["Links"]}


def failed(result):
    """The names of the links that failed."""
    found = [
        link for audit in result["Audits"] for link in (*audit["Links"], *audit["Predictions"])
    ]
    return sorted({link["Name"] for link in found if link["Status"] == "FAILED"})


def one_byte(position):
    def change(body):
        return body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]

    return change


@pytest.mark.parametrize(
    "inference_id",
    ["one-csv", *(pytest.param(i, marks=ACCEPTANCE) for i in ("csv-charset", "one-json"))],
)
def test_every_link_of_a_prediction_is_verified_down_to_the_prediction_made_anew(
    audited, inference_id
):
    result = audited.audit("prediction", inference_id)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Audited"), result
    [audit] = result["Audits"]
    assert list(statuses(audit)) == LINKS
    assert statuses(audit) == dict.fromkeys(LINKS, "verified") | {"model card": "recorded"}
    [prediction] = audit["Predictions"]
    assert prediction["InferenceId"] == inference_id
    assert (prediction["Status"], prediction["Value"]) == ("verified", "identical")


@pytest.mark.acceptance
def test_the_last_line_says_identical_and_the_report_says_the_same(audited):
    code, text = audited.run("prediction", "one-csv", in_json=False)
    assert code == 0
    first, *lines = [
        line for line in text.splitlines() if re.match("verified|recorded|FAILED", line)
    ]
    assert first.startswith("recorded  captured record         one-csv 20")
    assert re.match(r"verified +prediction made anew +identical ", lines[-1])
    folder = audited.path / "reports/abalone-staging-audit"
    report = json.loads((folder / "report.json").read_text())
    page = (folder / "report.html").read_text()
    links = report["Audits"][0]["Links"]
    assert [link["Name"] for link in links] == LINKS
    assert all(link["Value"] in page for link in links) and "identical" in page


@pytest.mark.acceptance
def test_an_audit_of_everything_makes_every_prediction_anew(audited):
    result = audited.audit("all")
    assert result["ExitCode"] == 0, result["Message"]
    [audit] = result["Audits"]
    sent = [one["InferenceId"] for one in audit["Predictions"]]
    users = [one for one in sent if not one.startswith("deploy-model-")]  # not the smoke test's
    assert sorted(users) == sorted(request[0] for request in REQUESTS) and len(users) < len(sent)
    assert {one["Value"] for one in audit["Predictions"]} == {"identical"}
    code, text = audited.run("all", in_json=False)
    number = len(audit["Predictions"])
    assert code == 0 and f"{number} of {number} identical" in text.splitlines()[-1]


def test_an_audit_of_a_version_has_the_same_links_and_no_prediction(audited):
    [audit] = audited.audit("version", "1")["Audits"]
    assert (list(statuses(audit)), audit["Predictions"]) == (LINKS, [])
    result = audited.audit("version", "7")
    assert result["ExitCode"] == 3 and "deployed were: 1" in result["Message"]


@pytest.mark.acceptance
def test_records_of_one_id_are_all_audited_and_at_narrows(audited):
    result = audited.audit("prediction", "twice")
    assert len(result["Audits"][0]["Predictions"]) == 2
    time = result["Audits"][0]["Predictions"][0]["Time"]
    for at in (time, time[:16]):
        found = audited.audit("prediction", "twice", "--at", at)["Audits"][0]["Predictions"]
        assert time in [one["Time"] for one in found]
        assert all(one["Time"].startswith(at.removesuffix("Z")) for one in found)
    for at in ("2020-01-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"):
        result = audited.audit("prediction", "twice", "--at", at)
        assert result["ExitCode"] == 3 and f"at {at}" in result["Message"]


def test_an_id_without_a_record_is_refused_and_says_where_it_looked(audited):
    result = audited.audit("prediction", "never-sent")
    config = audited.cloud.sm.describe_endpoint(EndpointName="abalone-staging")
    folder = f"s3://{BUCKET}/datacapture-staging/{config['EndpointConfigName']}/abalone-staging"
    assert result["ExitCode"] == 3
    assert "'never-sent'" in result["Message"] and folder in result["Message"]
    assert "staging captures 100 % of its requests" in result["Message"]


@pytest.mark.parametrize(
    "words, reason",
    [
        (["prediction"], "needs the InferenceId"),
        (["version"], "needs the number of a version, ''"),
        (["version", "v1"], "needs the number of a version, 'v1'"),
        (["all", "1"], "takes no other word"),
        (["all", "--at", "2026-01-01T00:00"], "--at is for audit prediction"),
        (["prediction", "x", "--at", "noon"], "expected UTC as"),
        (["prediction", "x", "--at", "2026-02-31T00:00"], "expected UTC as"),
        (["predictions", "x"], "invalid choice"),
    ],
)
def test_words_that_make_no_sense_are_refused(audited, words, reason):
    result = audited.audit(*words)
    assert result["ExitCode"] == 2 and reason in result["Message"]


@pytest.mark.acceptance
def test_an_audit_changes_nothing_and_asks_what_its_page_says(audited):
    faults.clear_calls(audited.cloud.local)
    audited.audit("all")
    calls = faults.calls(audited.cloud.local)
    assert changing(calls) == []
    permissions = PAGE.partition("## Permissions")[2].partition("\n## ")[0]
    asked = {call["operation"].replace("ListObjectsV2", "ListBucket") for call in calls}
    assert asked == set(re.findall(r"`([A-Z]\w+)`", permissions)) - {"KmsKeyId"}


def test_the_page_tells_how_to_recompute_the_hash_of_the_definition(audited):
    metadata = audited.package()["CustomerMetadataProperties"]
    answer = audited.cloud.sm.describe_pipeline_definition_for_execution(
        PipelineExecutionArn=metadata["PipelineExecutionArn"]
    )
    [code] = re.findall(r"python3 -c '(.+)'", PAGE)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=answer["PipelineDefinition"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == metadata["DefinitionSha256"]


# What was changed fails, and its link alone


def test_one_byte_of_the_model(audited):
    [key] = audited.keys("abalone/deploy/staging/ledger/")[-1:]
    pin = json.loads(audited.get(key))["Deployment"]["Pins"][0]
    key = (pin.get("ServedUrl") or pin["ModelDataUrl"]).removeprefix(f"s3://{BUCKET}/")
    with audited.changed(key, one_byte(-20)):
        result = audited.audit("prediction", "one-csv")
    assert (result["ExitCode"], failed(result)) == (1, ["model artifact"])
    assert "FAILED: model artifact: the ledger says" in result["Message"]
    [prediction] = result["Audits"][0]["Predictions"]
    assert prediction["Status"] == "recorded" and "its code is not run" in prediction["Note"]


def test_one_byte_of_the_data(audited):
    url = audited.package()["CustomerMetadataProperties"]["InputDataUrl"]
    with audited.changed(url.removeprefix(f"s3://{BUCKET}/"), one_byte(100)):
        result = audited.audit("prediction", "one-csv")
    assert (result["ExitCode"], failed(result)) == (1, ["data"])


def test_one_byte_of_the_definition(audited, monkeypatch):
    from botocore.client import BaseClient

    real = BaseClient._make_api_call

    def answer(client, operation, members):
        found = real(client, operation, members)
        if operation == "DescribePipelineDefinitionForExecution":
            text = found["PipelineDefinition"]
            found["PipelineDefinition"] = text.replace("ml.m5.xlarge", "ml.m5.xlargf", 1)
        return found

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    result = audited.audit("prediction", "one-csv")
    assert (result["ExitCode"], failed(result)) == (1, ["definition"])


@pytest.mark.parametrize("part", ["request", "answer"])
def test_one_byte_of_a_captured_body(audited, part):
    [(key, record)] = [
        (key, record)
        for key, record in audited.records()
        if record["eventMetadata"]["inferenceId"] == "one-csv"
    ]
    captured = record["captureData"]
    assert [captured[side]["encoding"] for side in captured] == ["CSV", "CSV"]
    line = json.dumps(record).encode()
    answer = captured["endpointOutput"]["data"]
    old, new = ("0.455,0.365", "0.955,0.365") if part == "request" else (answer, f"9{answer[1:]}")
    with audited.changed(
        key, lambda body: body.replace(line, line.replace(*map(str.encode, (old, new))))
    ):
        words = ("prediction", "one-csv") if part == "request" else ("all",)
        result = audited.audit(*words)
    assert (result["ExitCode"], failed(result)) == (1, ["prediction made anew"])
    assert f"captured {new if part == 'answer' else answer}" in result["Message"]


@pytest.mark.acceptance
@pytest.mark.parametrize("installed", ["0.1", pytest.param("", marks=ACCEPTANCE)])
def test_another_answer_with_other_libraries_proves_nothing(audited, monkeypatch, installed):
    def version(name):
        if not installed:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("sagemaker_project.deploy.audit.anew.version", version)
    [key] = {key for key, record in audited.records() if ROW in str(record)}
    with audited.changed(key, lambda body: body.replace(b"0.455,0.365", b"0.955,0.365")):
        result = audited.audit("prediction", "one-csv")
    [prediction] = result["Audits"][0]["Predictions"]
    assert (result["ExitCode"], prediction["Status"]) == (0, "recorded")
    wanted = "scikit-learn 0.1, trained with" if installed else "the project's full environment"
    assert wanted in prediction["Note"]


def payload(side, **members):
    return lambda record: record["captureData"][side].update(members)


def without(side):
    return lambda record: record["captureData"].pop(side)


def about(**members):
    return lambda record: record["eventMetadata"].update(members)


TWICE = '{"predictions": [99.0], "predictions": [7.8]}'
FORGERIES = {
    "no request": (without("endpointInput"), " captures: Input"),
    "no answer": (without("endpointOutput"), " captures: Output"),
    "content type": (payload("endpointInput", observedContentType=123), "123 is no text"),
    "accepted type": (payload("endpointOutput", observedContentType=["x"]), "is no text"),
    "data": (payload("endpointInput", data=7), "7 is no text"),
    "encoding": (payload("endpointOutput", encoding="FOO"), "encoding 'FOO', expected one of CSV"),
    "deep": (payload("endpointOutput", data="[" * 200_000), "captured [[["),
    "members twice": (payload("endpointOutput", data=TWICE), 'captured {"predictions": [99.0], '),
    "hour": (about(inferenceTime="2026-01-31T23:59:58Z"), "its inferenceTime is 2026-01-31T23"),
    "zone": (about(inferenceTime="2026-01-31T23:59:58+01:00"), "not a captured record"),
    "no time": (about(inferenceTime=5), "not a captured record"),
    "surrogate": (about(eventId="\ud800"), "not a captured record"),
}


OFTEN = ("no request", "content type", "encoding", "deep", "members twice", "hour")


@pytest.mark.parametrize(
    "name", [n if n in OFTEN else pytest.param(n, marks=ACCEPTANCE) for n in FORGERIES]
)
def test_a_captured_record_that_contradicts_itself(audited, name):
    change, reason = FORGERIES[name]
    [(key, record)] = [
        (key, record)
        for key, record in audited.records()
        if record["eventMetadata"]["inferenceId"] == "csv-charset"
    ]
    line = json.dumps(record).encode()
    change(record)
    with audited.changed(key, lambda body: body.replace(line, json.dumps(record).encode())):
        result = audited.audit("prediction", "csv-charset")
    assert (result["ExitCode"], failed(result)) == (1, ["prediction made anew"])
    assert reason in result["Message"] and f"{key} line " in result["Message"]


@pytest.mark.acceptance
def test_captured_records_with_one_event_id(audited):
    key, record = audited.records()[0]
    inference_id = record["eventMetadata"]["inferenceId"]
    with audited.changed(key, lambda body: body + json.dumps(record).encode() + b"\n"):
        result = audited.audit("prediction", inference_id)
    assert (result["ExitCode"], failed(result)) == (1, ["prediction made anew"])
    assert f"2 records have the eventId {record['eventMetadata']['eventId']}" in result["Message"]
    assert f"{key} line " in result["Message"]


@ACCEPTANCE
def test_a_captured_line_that_cannot_be_read(audited):
    key = audited.records()[0][0]
    with audited.changed(key, lambda body: body + b"{not JSON\n"):
        result = audited.audit("all")
        assert audited.audit("prediction", "one-csv")["ExitCode"] == 0
        lost = audited.audit("prediction", "lost")
    assert (result["ExitCode"], failed(result)) == (1, ["prediction made anew"])
    assert (lost["ExitCode"], failed(lost)) == (1, ["prediction made anew"])
    assert f"{key} line " in lost["Message"]


def test_one_byte_of_the_ledger(audited):
    key = audited.keys("abalone/deploy/staging/ledger/")[0]
    with audited.changed(
        key, lambda body: body.replace(b'"looks', b'"Looks').replace(b"good", b"gooe")
    ):
        result = audited.audit("prediction", "one-csv")
    assert result["ExitCode"] == 1 and "ledger" in failed(result)
    assert "00000001.json" in result["Message"]


def test_a_ledger_of_which_nothing_can_be_read(audited):
    with contextlib.ExitStack() as stack:
        for key in audited.keys("abalone/deploy/staging/ledger/"):
            stack.enter_context(audited.changed(key, one_byte(-5)))
        for words in (("prediction", "one-csv"), ("all",)):
            result = audited.audit(*words)
            assert result["ExitCode"] == 1 and "FAILED: ledger: " in result["Message"]


def test_metadata_that_contradicts_the_execution(audited):
    for name, link in (("DefinitionSha256", "definition"), ("GitCommit", "commit")):
        real = audited.package()["CustomerMetadataProperties"][name]
        try:
            audited.cloud.sm.update_model_package(
                ModelPackageArn=audited.arn, CustomerMetadataProperties={name: "f" * 40}
            )
            assert link in failed(audited.audit("version", "1"))
        finally:
            audited.cloud.sm.update_model_package(
                ModelPackageArn=audited.arn, CustomerMetadataProperties={name: real}
            )


def test_metadata_that_names_no_execution(audited):
    real = audited.package()["CustomerMetadataProperties"]["PipelineExecutionArn"]
    try:
        audited.cloud.sm.update_model_package(
            ModelPackageArn=audited.arn,
            CustomerMetadataProperties={"PipelineExecutionArn": "unknown"},
        )
        result = audited.audit("version", "1")
    finally:
        audited.cloud.sm.update_model_package(
            ModelPackageArn=audited.arn, CustomerMetadataProperties={"PipelineExecutionArn": real}
        )
    found = statuses(result["Audits"][0])
    assert result["ExitCode"] == 0, result["Message"]
    assert {found["execution"], found["definition"]} == {"recorded"}


@pytest.mark.acceptance
def test_a_variant_that_serves_another_version_is_audited_as_that_version(place):
    first, second = place.register(factor=2), place.register(factor=3)
    config = json.loads((place.project / "deploy/staging-config.json").read_text())
    [variant] = config["ProductionVariants"]
    both = [variant, {**variant, "VariantName": "Before", "ModelPackageVersion": 1}]
    place.settings("staging", ProductionVariants=both)
    assert place.deploy("promote", "--model-package-arn", second)["ExitCode"] == 0
    runtime = place.cloud.client("sagemaker-runtime")
    for name in ("AllTraffic", "Before"):
        runtime.invoke_endpoint(
            EndpointName=f"{place.name}-staging",
            Body="5",
            ContentType="text/csv",
            TargetVariant=name,
            InferenceId="both",
        )
    captured = until(lambda: len(both_answers(place)) == 2 and both_answers(place))
    assert captured == {("AllTraffic", "15.0"), ("Before", "10.0")}
    result = place.deploy("audit", "prediction", "both")
    assert result["ExitCode"] == 0, result["Message"]
    found = {audit["VariantName"]: audit["ModelPackageArn"] for audit in result["Audits"]}
    assert found == {"AllTraffic": second, "Before": first}
    made = [one["Value"] for audit in result["Audits"] for one in audit["Predictions"]]
    assert made == ["identical", "identical"]


@pytest.mark.acceptance
def test_an_answer_of_another_json_type_differs_and_a_side_that_is_not_captured_is_recorded(place):
    assert place.deploy("promote", "--model-package-arn", place.register(factor=2))["ExitCode"] == 0
    [(key, body)] = sent(place, "both-sides")
    for answer, exit_code, value in (("1", 0, "identical"), ("true", 1, "differs")):
        forged = body.replace(b"[1.0]", f"[{answer}]".encode())
        assert forged != body
        place.s3.put_object(Bucket=BUCKET, Key=key, Body=forged)
        result = place.deploy("audit", "prediction", "both-sides")
        [prediction] = result["Audits"][0]["Predictions"]
        assert (result["ExitCode"], prediction["Value"]) == (exit_code, value)
    config = json.loads((place.project / "deploy/staging-config.json").read_text())
    only = {**config["DataCaptureConfig"], "CaptureOptions": [{"CaptureMode": "Output"}]}
    place.settings("staging", DataCaptureConfig=only)
    assert place.deploy("promote", "--model-package-arn", place.register(factor=2))["ExitCode"] == 0
    sent(place, "one-side")
    result = place.deploy("audit", "prediction", "one-side")
    [prediction] = result["Audits"][0]["Predictions"]
    assert (result["ExitCode"], prediction["Status"]) == (0, "recorded")


def sent(place, inference_id):
    """Send a request; return [(key, body)] of the capture file that has it."""
    place.cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=f"{place.name}-staging",
        Body="0.5",
        ContentType="text/csv",
        InferenceId=inference_id,
    )

    def files():
        listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix="datacapture-staging/")
        keys = [item["Key"] for item in listed.get("Contents", [])]
        bodies = {k: place.s3.get_object(Bucket=BUCKET, Key=k)["Body"].read() for k in keys}
        return [(key, body) for key, body in bodies.items() if inference_id.encode() in body]

    return until(files)


def both_answers(place):
    """{(variant, answer)} of the captured requests with the inference id `both`."""
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix="datacapture-staging/")
    found = set()
    for item in listed.get("Contents", []):
        if f"/{place.name}-staging/" in item["Key"]:
            body = place.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            for record in map(json.loads, body.splitlines()):
                if record["eventMetadata"].get("inferenceId") == "both":
                    answer = json.loads(record["captureData"]["endpointOutput"]["data"])
                    variant = item["Key"].partition(f"{place.name}-staging/")[2].split("/")[0]
                    found.add((variant, str(answer["predictions"][0])))
    return found
