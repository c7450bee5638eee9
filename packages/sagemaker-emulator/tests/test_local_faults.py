"""Faults on purpose: each kind does what is documented, as often as asked, and is logged."""

import time

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from local_helpers import Cloud, unique
from sagemaker_emulator import client as local_client
from sagemaker_emulator.api.faults import PATH
from sagemaker_emulator.testing import faults


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_FAULTS", "1")
        with local_client.attach(state=tmp_path_factory.mktemp("project") / "state") as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket="bucket")
            yield cloud


@pytest.fixture(autouse=True)
def quiet(cloud):
    faults.clear(cloud.local)
    faults.clear_calls(cloud.local)


def group(cloud, name=None):
    name = name or unique("group")
    cloud.sm.create_model_package_group(ModelPackageGroupName=name)
    return name


def describe(cloud, name):
    return cloud.sm.describe_model_package_group(ModelPackageGroupName=name)


def refused(call, *arguments):
    with pytest.raises(ClientError) as error:
        call(*arguments)
    return error.value.response


CREATE = "CreateModelPackageGroup"


@pytest.mark.parametrize(
    "kind, code, status, s3_code, s3_status",
    [
        ("throttle", "ThrottlingException", 400, "SlowDown", 503),
        ("error500", "InternalFailure", 500, "InternalError", 500),
        ("error503", "ServiceUnavailable", 503, "ServiceUnavailable", 503),
        ("denied", "AccessDeniedException", 400, "AccessDenied", 403),
    ],
)
def test_a_refusal_is_in_the_services_words_and_nothing_is_done(
    cloud, kind, code, status, s3_code, s3_status
):
    name = unique("group")
    faults.inject(cloud.local, CREATE, kind)
    faults.inject(cloud.local, "PutObject", kind, service="s3")
    said = refused(group, cloud, name)
    assert said["Error"]["Code"] == code
    assert said["ResponseMetadata"]["HTTPStatusCode"] == status
    assert refused(describe, cloud, name)["Error"]["Code"] == "ValidationException"
    said = refused(cloud.put, kind, "x")
    assert said["Error"]["Code"] == s3_code
    assert said["ResponseMetadata"]["HTTPStatusCode"] == s3_status
    assert refused(cloud.get, kind)["Error"]["Code"] == "NoSuchKey"
    group(cloud, name)  # once is enough
    cloud.put(kind, "x")


def test_an_error_with_a_code_of_the_test(cloud):
    faults.inject(cloud.local, CREATE, "error", code="ResourceInUse", message="taken", status=409)
    said = refused(group, cloud)
    assert said["Error"] == {"Code": "ResourceInUse", "Message": "taken"}
    assert said["ResponseMetadata"]["HTTPStatusCode"] == 409


@pytest.mark.parametrize("kind, done", [("reset", False), ("lost_response", True)])
def test_a_connection_that_ends_before_or_after(cloud, kind, done):
    name = unique("group")
    faults.inject(cloud.local, CREATE, kind)
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        group(cloud, name)
    if done:
        assert describe(cloud, name)["ModelPackageGroupName"] == name
    else:
        refused(describe, cloud, name)


def test_an_answer_that_breaks_off(cloud):
    name = unique("group")
    faults.inject(cloud.local, CREATE, "truncated_body")
    # botocore without attempts left makes of half a JSON text an answer without members.
    answer = cloud.sm.create_model_package_group(ModelPackageGroupName=name)
    assert "ModelPackageGroupArn" not in answer
    assert describe(cloud, name)["ModelPackageGroupName"] == name
    cloud.put("broken", "x" * 1000)
    faults.inject(cloud.local, "GetObject", "truncated_body", service="s3")
    with pytest.raises((HTTPClientError, IncompleteReadError, ResponseStreamingError)):
        cloud.get("broken")


def test_a_delay(cloud):
    faults.inject(cloud.local, CREATE, "delay", seconds=0.4)
    begun = time.monotonic()
    group(cloud)
    assert time.monotonic() - begun >= 0.4
    begun = time.monotonic()
    group(cloud)
    assert time.monotonic() - begun < 0.4


def test_an_answer_with_other_members(cloud):
    name = group(cloud)
    operation = "DescribeModelPackageGroup"
    members = {"ModelPackageGroupStatus": "Deleting", "ModelPackageGroupArn": None}
    faults.inject(cloud.local, operation, "answer", members=members)
    seen = describe(cloud, name)
    assert seen["ModelPackageGroupStatus"] == "Deleting" and "ModelPackageGroupArn" not in seen
    assert describe(cloud, name)["ModelPackageGroupStatus"] == "Completed"


def test_some_are_spared_and_some_are_hit(cloud):
    name = group(cloud)
    operation = "DescribeModelPackageGroup"
    faults.inject(cloud.local, operation, "throttle", times=2, after=1)
    faults.inject(cloud.local, operation, "error503", times=1)

    def outcome():
        try:
            describe(cloud, name)
        except ClientError as error:
            return error.response["Error"]["Code"]

    # The first rule spares the first call, so the second rule has it.
    assert [outcome() for _ in range(5)] == [
        *("ServiceUnavailable", "ThrottlingException", "ThrottlingException", None, None),
    ]
    faults.inject(cloud.local, "*", "throttle", times=None)
    assert [outcome() for _ in range(3)] == ["ThrottlingException"] * 3
    faults.clear(cloud.local)
    assert outcome() is None


def test_calls_are_logged_with_what_became_of_them(cloud):
    name = unique("group")
    faults.inject(cloud.local, CREATE, "lost_response")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        group(cloud, name)
    refused(group, cloud, name)
    cloud.sm.list_model_package_groups()
    first, second, third = faults.calls(cloud.local)
    request = {"ModelPackageGroupName": name}
    about = {"service": "sagemaker", "operation": CREATE, "request": request}
    assert first == about | {"status": None, "fault": "lost_response"}
    assert second == about | {"status": 400, "fault": None}
    assert (third["operation"], third["status"]) == ("ListModelPackageGroups", 200)
    faults.clear_calls(cloud.local)
    assert faults.calls(cloud.local) == []


def test_s3_operations_have_their_names(cloud):
    s3 = cloud.s3
    here = {"Bucket": "bucket"}
    s3.put_object(Key="k", Body=b"x", **here)
    s3.put_object(Key="k2", Body=b"x", IfNoneMatch="*", **here)
    s3.get_object(Key="k", **here)
    s3.head_object(Key="k", **here)
    s3.copy_object(Key="c", CopySource="bucket/k", **here)
    s3.put_object_tagging(Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}, **here)
    s3.list_objects_v2(**here)
    s3.list_objects(**here)
    s3.list_object_versions(**here)
    s3.head_bucket(**here)
    s3.put_bucket_versioning(VersioningConfiguration={"Status": "Enabled"}, **here)
    version = s3.put_object(Key="v", Body=b"x", **here)["VersionId"]
    s3.get_object(Key="v", VersionId=version, **here)
    upload = s3.create_multipart_upload(Key="m", **here)["UploadId"]
    s3.upload_part(Key="m", UploadId=upload, PartNumber=1, Body=b"x", **here)
    s3.list_parts(Key="m", UploadId=upload, **here)
    s3.abort_multipart_upload(Key="m", UploadId=upload, **here)
    s3.delete_object(Key="k", **here)
    s3.delete_objects(Delete={"Objects": [{"Key": "k2"}]}, **here)
    s3.create_bucket(Bucket="another")
    s3.delete_bucket(Bucket="another")
    s3.list_buckets()
    calls = faults.calls(cloud.local)
    assert {call["service"] for call in calls} == {"s3"}
    assert [call["operation"] for call in calls] == [
        *("PutObject", "PutObject", "GetObject", "HeadObject", "CopyObject", "PutObjectTagging"),
        *("ListObjectsV2", "ListObjects", "ListObjectVersions", "HeadBucket"),
        *("PutBucketVersioning", "PutObject", "GetObject", "CreateMultipartUpload", "UploadPart"),
        *("ListParts", "AbortMultipartUpload", "DeleteObject", "DeleteObjects", "CreateBucket"),
        *("DeleteBucket", "ListBuckets"),
    ]


@pytest.mark.parametrize(
    "kind, details, words",
    [
        ("thunder", {}, "no kind of fault 'thunder'"),
        ("delay", {}, "has seconds"),
        ("throttle", {"seconds": 1}, "no details"),
        ("error", {"message": "m"}, "has code, message, status"),
    ],
)
def test_an_unknown_fault_is_refused(cloud, kind, details, words):
    with pytest.raises(ValueError, match=words):
        faults.inject(cloud.local, CREATE, kind, **details)


def test_a_fault_that_does_not_fit_the_protocol_is_an_error(cloud):
    faults.inject(cloud.local, "PutObject", "answer", service="s3", members={})  # S3 has no JSON
    quick = cloud.client("s3", read_timeout=5)
    with pytest.raises(ClientError, match="500"):
        quick.put_object(Bucket="bucket", Key="k", Body=b"x")
    cloud.put("k", "x")


def test_a_server_without_the_setting_has_no_faults(tmp_path, monkeypatch):
    monkeypatch.delenv("SAGEMAKER_LOCAL_FAULTS", raising=False)
    with local_client.attach(state=tmp_path / "state") as local:
        with pytest.raises(ValueError, match="SAGEMAKER_LOCAL_FAULTS=1"):
            faults.inject(local, CREATE, "throttle", times=None)
        with pytest.raises(ValueError, match="SAGEMAKER_LOCAL_FAULTS=1"):
            faults.calls(local)
        group(Cloud(local))


def test_faults_are_for_programs_on_this_machine(cloud):
    import http.client

    connection = http.client.HTTPConnection(cloud.url.removeprefix("http://"))
    connection.request("GET", PATH, headers={"Host": "evil.example"} | cloud.token)
    assert connection.getresponse().status == 403
    connection.close()
