"""Links of `deploy-model audit`: a difference fails; what is only not known is recorded."""

import subprocess
from types import SimpleNamespace

import pytest
from deploy_helpers import BUCKET, INFERENCE, ROLE, artifact, until
from evidence_helpers import arn, deployed, package
from on_call_helpers import promoted
from sagemaker_project.deploy.audit import chain
from sagemaker_project.deploy.candidate import approval
from sagemaker_project.deploy.ledger import encode
from test_clocks import DAY, Machine

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Ends or loads as the test says, in the audit's process alone: the endpoint's began before.
BREAKS = f"""{INFERENCE}
works = predict_fn

def predict_fn(rows, model):
    if os.environ.get("IN_THE_AUDIT") == "ends":
        os._exit(7)
    if os.environ.get("IN_THE_AUDIT") == "sleeps":
        time.sleep(60)
    if os.environ.get("IN_THE_AUDIT") == "lies":
        return [7.0 for row in rows]
    return works(rows, model)
"""


def links(result):
    """{name: (status, note)} of the links of the only deployment that was audited."""
    (audit,) = result["Audits"]
    return {link["Name"]: (link["Status"], link["Note"]) for link in audit["Links"]}


def link(place, name, version="1"):
    return links(place.deploy("audit", "version", version))[name]


def subject(found, describe=None, steps=(), **changes):
    """A deployment of version 2, whose package is `found`."""
    sources = SimpleNamespace(
        package=lambda _: found,
        has_commit=lambda _: True,
        endpoint_config=lambda _: ({}, ""),
        describe=lambda *_, **__: describe,
        steps=lambda _: steps,
    )
    return chain.Subject(sources, {**deployed(2), **changes})


def by_tag(container):
    return {**container, "Image": container["Image"].partition("@")[0] + ":1.9-0-cpu-py3"}


def more_environment(container):
    return {**container, "Environment": {**container["Environment"], "PYTHONPATH": "/tmp"}}


def other_environment(container):
    return {**container, "Environment": {**container["Environment"], "SAGEMAKER_PROGRAM": "x.py"}}


@pytest.mark.parametrize(
    "change, differs",
    [
        (by_tag, "PrimaryContainer"),
        (other_environment, "PrimaryContainer"),
        (more_environment, "Environment"),
    ],
)
def test_a_model_that_was_made_again_with_something_else_fails(place, change, differs):
    promoted(place, 2)
    assert link(place, "model") == ("verified", "as in the ledger")
    name = place.entries()[-1]["Deployment"]["Models"][0]
    container = place.sm.describe_model(ModelName=name)["PrimaryContainer"]
    place.sm.delete_model(ModelName=name)
    place.sm.create_model(ModelName=name, PrimaryContainer=change(container), ExecutionRoleArn=ROLE)
    result = place.deploy("audit", "version", "1")
    assert (result["ExitCode"], links(result)["model"]) == (
        1,
        ("FAILED", f"other than in the ledger: {differs}"),
    )


@pytest.mark.parametrize(
    "container, status, note",
    [
        ({"ModelPackageName": arn(2)}, "recorded", "package as in the ledger, which has no more"),
        ({"ModelPackageName": arn(2), "Image": "image"}, "verified", "model and image as in"),
        ({"ModelPackageName": arn(2), "Image": "other"}, "FAILED", "its image is other"),
        ({"ModelPackageName": arn(1), "Image": "image"}, "FAILED", "the ledger says"),
        ({"ModelDataUrl": "s3://bucket/2", "Image": "image@d"}, "verified", "model and image as"),
        ({"ModelDataUrl": "s3://bucket/1", "Image": "image"}, "FAILED", "the ledger says"),
    ],
)
def test_a_model_of_a_ledger_of_format_1_is_compared_with_the_pin(container, status, note):
    recorded = deployed(2)
    (pin,) = recorded["Pins"]
    pins = [{name: value for name, value in pin.items() if name != "ServedUrl"}]
    about = subject(package(2), {"PrimaryContainer": container}, Pins=pins, Resources={})
    found = chain.model(about)
    assert (found.value, found.status) == (recorded["Models"][0], status) and note in found.note


@pytest.mark.acceptance
def test_a_ledger_with_entries_set_aside_is_recorded(place):
    promoted(place, 2, 3)
    for number in (1, 2):
        place.put(f"{place.name}/deploy/staging/ledger/{number:08d}.json", b"{}")
    accepted = place.deploy("ledger", "accept", "1", "2", "--reason", "restored by hand")
    assert accepted["ExitCode"] == 0, accepted
    assert link(place, "ledger", "2") == ("recorded", "set aside as damaged: 1, 2")


def test_an_entry_of_a_newer_version_of_this_package_fails_no_audit(place):
    promoted(place, 2)
    last = place.entries()[-1]
    newer = {**last, "Version": 3, "Number": 3, "Previous": last["Sha256"], "Kind": "Paused"}
    place.put(f"{place.name}/deploy/staging/ledger/00000003.json", encode(newer))
    result = place.deploy("audit", "version", "1")
    status, note = links(result)["ledger"]
    assert (result["ExitCode"], status) == (0, "recorded"), result
    assert "00000003.json" in note and "update the checkout" in note
    unknown = place.deploy("audit", "version", "9")
    assert unknown["ExitCode"] == 3 and "update the checkout" in unknown["Message"]


@pytest.mark.parametrize(
    "does, status, note",
    [
        ("ends", "recorded", "its process ended with 7"),
        ("sleeps", "recorded", "its process did not end in time"),
        ("lies", "FAILED", "made anew"),
    ],
)
def test_a_process_of_the_audit_that_breaks_off_proves_nothing(
    place, monkeypatch, does, status, note
):
    installed = {"scikit-learn": "1.9.0"}
    monkeypatch.setattr("sagemaker_project.deploy.audit.anew.version", installed.get)
    made = place.deploy(
        "promote", "--model-package-arn", place.register(body=artifact(inference=BREAKS))
    )
    assert made["ExitCode"] == 0, made
    place.cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=f"{place.name}-staging", Body="5", ContentType="text/csv", InferenceId="one"
    )
    until(lambda: captures(place, b'"one"'))
    monkeypatch.setitem(place.environment, "IN_THE_AUDIT", does)
    if does == "sleeps":
        monkeypatch.setattr("sagemaker_project.deploy.audit.anew.subprocess.run", impatient)
    result = place.deploy("audit", "prediction", "one")
    (prediction,) = result["Audits"][0]["Predictions"]
    assert prediction["Status"] == status and note in prediction["Note"], prediction
    assert result["ExitCode"] == (1 if status == "FAILED" else 0)


def test_the_code_of_an_artifact_wins_over_the_installed_package(place, monkeypatch):
    package = {"sagemaker_project/__init__.py": "", "sagemaker_project/tabular/__init__.py": ""}
    package["sagemaker_project/tabular/schema.py"] = "OWN = 1"
    inference = f"from sagemaker_project.tabular.schema import OWN\n{INFERENCE}"
    monkeypatch.setattr(
        "sagemaker_project.deploy.audit.anew.version", {"scikit-learn": "1.9.0"}.get
    )
    made = place.deploy(
        *("promote", "--model-package-arn"),
        place.register(body=artifact(inference=inference, package=package)),
    )
    assert made["ExitCode"] == 0, made
    place.cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=f"{place.name}-staging", Body="5", ContentType="text/csv", InferenceId="own"
    )
    until(lambda: captures(place, b'"own"'))
    result = place.deploy("audit", "prediction", "own")
    (prediction,) = result["Audits"][0]["Predictions"]
    assert (prediction["Status"], prediction["Value"]) == ("verified", "identical"), prediction


def impatient(words, run=subprocess.run, **options):
    """Run a process, which gets a second at most where it makes predictions anew."""
    return run(words, **{**options, **({"timeout": 1} if "answer.py" in words[-1] else {})})


def captures(place, text):
    """Whether a captured file of the endpoint has a text."""
    listed = place.s3.list_objects_v2(Bucket=BUCKET, Prefix="datacapture-staging/")
    keys = [item["Key"] for item in listed.get("Contents", [])]
    own = [key for key in keys if f"/{place.name}-staging/" in key]
    return any(text in place.s3.get_object(Bucket=BUCKET, Key=k)["Body"].read() for k in own)


@pytest.mark.parametrize(
    "metadata, status",
    [({}, "recorded"), ({"TrainingJobName": "job"}, "FAILED")],
)
def test_a_package_that_names_no_training_job_fails_no_execution(metadata, status):
    about = {"PipelineExecutionArn": "arn:execution", **metadata}
    found = subject(
        package(2, CustomerMetadataProperties=about),
        {"PipelineExecutionStatus": "Succeeded", "CreationTime": package()["CreationTime"]},
        [{"Metadata": {"RegisterModel": {"Arn": arn(2)}}}],
    )
    assert chain.execution(found).status == status


@pytest.mark.parametrize(
    "changes, status",
    [
        ({}, "verified"),
        ({"LastModifiedBy": {}}, "recorded"),
        ({"LastModifiedTime": None, "CreationTime": None}, "recorded"),
    ],
)
def test_an_approver_whom_nobody_knows_is_recorded(changes, status):
    found = package(2, **changes)
    assert chain.approver(subject(found, Approval=approval(found))).status == status


@pytest.mark.parametrize(
    "commit, status",
    [
        (COMMIT, "verified"),
        (COMMIT + COMMIT[:24], "verified"),
        (f"{COMMIT}-dirty", "recorded"),
        ("main", "recorded"),
        ("HEAD", "recorded"),
        (COMMIT[:12], "recorded"),
        ("v1-2-g0123456", "recorded"),
    ],
)
def test_a_commit_is_verified_by_its_whole_id_alone(commit, status):
    found = package(2, CustomerMetadataProperties={"GitCommit": commit})
    assert chain.commit(subject(found, GitCommit=commit)).status == status


def test_the_time_of_an_audit_is_that_of_aws(place):
    promoted(place, 2)
    last = place.entries()[-1]["Time"]
    place.clock = Machine(-DAY)
    assert place.deploy("audit", "version", "1")["Time"] >= last[:19]
