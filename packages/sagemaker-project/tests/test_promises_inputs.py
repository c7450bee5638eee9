"""Bad inputs as `deploy-model` meets them, by their rows in the table of bad inputs.

Nothing is ever changed, the reason is one line, and nothing that came with a model is run.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest
from deploy_helpers import BUCKET, INFERENCE, artifact, changing

ARTIFACT = gzip.decompress(artifact())


def refused(result, calls, *parts, code=3):
    assert changing(calls) == [], [call["operation"] for call in changing(calls)]
    assert result["ExitCode"] == code, result["Message"]
    assert "\n" not in result["Message"] and "Traceback" not in result["stderr"]
    for part in parts:
        assert part in result["Message"], result["Message"]


def plan(place, arn, *words):
    return place.logged("promote", "--model-package-arn", arn, *words)


def packed(files, members=()):
    """A gzipped tar of {name: bytes}, and of members that tarfile would not make by itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return gzip.compress(buffer.getvalue())


def parts(model=b"{}", name="model.joblib", sklearn="1.9.0", **changes):
    """The files of a sound artifact; a file that is None is left out."""
    about = {
        "files": {name: hashlib.sha256(model).hexdigest()},
        "versions": {"scikit-learn": sklearn},
    }
    files = {
        "code/inference.py": INFERENCE.encode(),
        name: model,
        "model.json": json.dumps(about).encode(),
    } | {key.replace("__", "/").replace("_", "."): value for key, value in changes.items()}
    return {name: content for name, content in files.items() if content is not None}


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


# Row 31: what cannot be had


def test_row_31_an_artifact_that_is_gone_is_named(place):
    arn = place.register()
    key = place.artifact_key(arn)
    place.s3.delete_object(Bucket=BUCKET, Key=key)
    refused(*plan(place, arn), arn, f"s3://{BUCKET}/{key}", "is gone")


def test_row_31_metrics_that_are_gone_are_named(place):
    arn = place.register()
    key = place.artifact_key(arn).replace("model.tar.gz", "evaluation/evaluation.json")
    place.s3.delete_object(Bucket=BUCKET, Key=key)
    refused(*plan(place, arn), arn, f"s3://{BUCKET}/{key}", "gone")


def test_row_31_a_bucket_that_does_not_exist_is_named(place):
    result, calls = plan(place, place.register(), "--s3-bucket", "no-such-bucket")
    refused(result, calls, "s3://no-such-bucket/", "does not exist", code=2)


@pytest.mark.parametrize("message", ["Access Denied", "no policy allows kms:Decrypt"])
def test_row_31_a_denial_names_object_permission_and_role(place, message):
    """Denied by a policy, by a bucket in another account, or by KMS."""
    arn = place.register()
    details = {"code": "AccessDenied", "message": message, "status": 403}
    place.inject("GetObject", "error", service="s3", times=None, **details)
    result, calls = plan(place, arn)
    named = f"s3://{BUCKET}/{place.artifact_key(arn)}"
    wanted = ("s3:GetObject", named, "arn:aws:sts::123456789012:", "the role that runs")
    refused(result, calls, *wanted, *(["kms:Decrypt"] if "kms" in message else []), code=5)


# Rows 33 to 36: artifacts


SOUND = artifact()
ARTIFACTS = {
    "empty": (b"", "0 bytes"),
    "truncated": (SOUND[: len(SOUND) // 2], "not a whole gzipped tar file"),
    "without its last byte": (SOUND[:-1], "not a whole gzipped tar file"),
    "not gzip": (ARTIFACT, "not a whole gzipped tar file"),
    "text": (b"hello", "not a whole gzipped tar file"),
    "gzip of text": (gzip.compress(b"hello"), "not a whole gzipped tar file"),
    "no model": (packed(parts(model_joblib=None)), "exactly one model file is wanted, found: none"),
    "two models": (packed(parts(other_pkl=b"x")), "2 model files (model.joblib, other.pkl)"),
    "no inference": (packed(parts(code__inference_py=None)), "no code/inference.py"),
    "no about": (packed(parts(model_json=None)), "no model.json"),
    "parent folder": (packed(parts(), [member("../evil.py")]), "'../evil.py'"),
    "absolute": (packed(parts(), [member("/tmp/evil.py")]), "'/tmp/evil.py'"),
    "symlink": (packed(parts(), [member("a", tarfile.SYMTYPE, "/etc/passwd")]), "'a' is a link"),
    "hard link": (packed(parts(), [member("a", tarfile.LNKTYPE, "model.json")]), "'a' is a link"),
    "device": (packed(parts(), [member("a", tarfile.CHRTYPE)]), "'a' is a link, a device"),
    "crowd": (packed(parts(), [member(f"d/{n}") for n in range(1001)]), "more than 1000 members"),
    "changed model": (
        packed(parts(model_joblib=b"{ }")),
        "model.joblib: its sha256 is",
    ),
    "skops beside": (packed(parts(model_skops=b"x")), "2 model files (model.joblib, model.skops)"),
}


@pytest.mark.parametrize("what", ARTIFACTS)
def test_rows_33_34_35_an_artifact_that_is_not_one_is_refused(place, what):
    body, reason = ARTIFACTS[what]
    arn = place.register(body=body)
    refused(*plan(place, arn), arn, reason)
    assert not os.path.exists("/tmp/evil.py") and not os.listdir(place.workdir)


def bomb(size):
    """A member of zeros of so many bytes, in a thousandth of the size."""
    info = member("zeros")
    info.size = size
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf())
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            file.write(block)
    return buffer.getvalue()


def test_row_34_a_bomb_is_given_up_when_it_says_how_large_it_is(place):
    info = member("zeros")
    info.size = 1 << 43
    arn = place.register(body=gzip.compress(info.tobuf() + bytes(1 << 20)))
    refused(*plan(place, arn), arn, "more than", "bytes")


def test_row_34_a_bomb_is_given_up_when_it_grows_too_large(place, monkeypatch):
    monkeypatch.setattr("sagemaker_project.deploy.artifact.MAX_UNPACKED", 32 << 20)
    arn = place.register(body=bomb(64 << 20))
    refused(*plan(place, arn), arn, f"{32 << 20:,}")


def test_row_35_a_model_is_never_loaded_by_the_command(place):
    """A pickle that would leave a file wherever it is loaded passes as bytes, and leaves none."""
    import pickle

    trace = place.workdir / "was-here"

    class Evil:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    arn = place.register(body=packed(parts(model=pickle.dumps(Evil()))))
    result = place.deploy("plan", "--model-package-arn", arn)
    assert result["ExitCode"] == 0 and not trace.exists(), result["Message"]


def test_row_36_an_artifact_that_is_not_the_registered_one_is_refused(place):
    """As long and as sound, of another model: both hashes are told."""
    body = artifact(factor=9)
    arn = place.register(body=body)
    other = "f" * 64
    place.sm.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"ModelSha256": other}
    )
    refused(*plan(place, arn), arn, hashlib.sha256(body).hexdigest(), other)


def test_row_36_a_model_of_another_scikit_learn_is_refused(place):
    arn = place.register(body=packed(parts(sklearn="1.5.2")))
    refused(*plan(place, arn), arn, "1.5.2", "1.9")


@pytest.mark.parametrize("containers", [[{}, {}], [{"ModelDataUrl": None}], [{"Image": None}]])
def test_a_package_that_is_not_one_model_in_one_container_is_refused(place, containers):
    """As somebody may register by hand: in AWS's terms it is a package like any other."""
    package = place.sm.describe_model_package(ModelPackageName=place.register())
    (container,) = package["InferenceSpecification"]["Containers"]
    container.pop("ModelDataETag", None)
    changed = [container | changes for changes in containers]
    answer = place.sm.create_model_package(
        ModelPackageGroupName=place.group,
        ModelMetrics=package["ModelMetrics"],
        InferenceSpecification=package["InferenceSpecification"]
        | {"Containers": [{k: v for k, v in one.items() if v} for one in changed]},
    )
    place.approve(answer["ModelPackageArn"])
    refused(*plan(place, answer["ModelPackageArn"]), "one container with a ModelDataUrl")


# Row 40: metrics


@pytest.mark.parametrize(
    "metrics, reason",
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is nested too deeply"),
        ({}, "no metric"),
        ([], "no metric"),
        ({"regression_metrics": {}}, "no metric"),
        ({"regression": {"mse": {"value": 1}}}, "no metric"),
        ({"regression_metrics": {"mse": {}}}, "regression_metrics.mse.value is None"),
        ({"regression_metrics": {"mse": 4.5}}, "regression_metrics.mse.value is None"),
        (
            {"regression_metrics": {"mse": {"value": "4.5"}}},
            "regression_metrics.mse.value is '4.5'",
        ),
        ({"regression_metrics": {"mse": {"value": True}}}, "regression_metrics.mse.value is True"),
        (b'{"regression_metrics": {"mse": {"value": NaN}}}', "regression_metrics.mse.value is nan"),
        (b'{"regression_metrics": {"mse": {"value": 1e999}}}', "mse.value is inf"),
        (
            {"regression_metrics": {"mse": {"value": 1}, "r2": {"value": None}}},
            "regression_metrics.r2.value is None",
        ),
    ],
)
def test_row_40_metrics_that_say_nothing_promote_nothing(place, metrics, reason):
    arn = place.register(metrics=metrics)
    refused(*plan(place, arn), "evaluation.json", reason)


# Row 43: credentials


def test_row_43_no_credentials(place, monkeypatch):
    arn = place.register()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        place.environment.pop(name, None)
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        place.environment[name] = os.devnull
    place.environment["AWS_EC2_METADATA_DISABLED"] = "true"
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    refused(*plan(place, arn), "AWS credentials", "log in", code=2)


@pytest.mark.parametrize(
    "code",
    [
        *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "RequestExpired"),
        *("SignatureDoesNotMatch", "UnrecognizedClientException", "RequestTimeTooSkewed"),
        *("InvalidSignatureException", "AuthFailure", "InvalidAccessKeyId"),
    ],
)
@pytest.mark.parametrize(
    "service, operation",
    [("sts", "GetCallerIdentity"), ("sagemaker", "DescribeModelPackage"), ("s3", "GetObject")],
)
def test_row_43_credentials_that_do_not_hold(place, code, service, operation):
    """Expired at the start or later, wrong, or of a machine whose clock is wrong."""
    arn = place.register()
    details = {"code": code, "message": "it is over", "status": 403}
    place.inject(operation, "error", service=service, times=None, **details)
    way = "this machine's clock" if "Skewed" in code else "log in again"
    refused(*plan(place, arn), "AWS credentials", code, way, code=2)


def test_row_43_another_account_than_the_settings_or_the_role_name(place):
    arn = place.register()
    place.settings("staging", AccountId="999999999999")
    logged_in = "logged in as arn:aws:sts::123456789012:"
    refused(*plan(place, arn), logged_in, "the project expects account 999999999999", code=2)
    place.settings("staging", AccountId=None)
    role = "arn:aws:iam::888888888888:role/x"
    refused(*plan(place, arn, "--model-execution-role", role), logged_in, "888888888888", code=2)
    place.settings("staging", AccountId="123456789012")
    refused(*plan(place, arn, "--model-execution-role", role), role, "123456789012", code=2)
    assert place.deploy("plan", "--model-package-arn", arn)["ExitCode"] == 0
