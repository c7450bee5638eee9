"""The API as a client sees it: what is refused and how, lists, tags, the registry."""

import datetime
import http.client
import json
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.exceptions import ClientError
from local_helpers import IMAGE, ROLE, create, definition, fail, processing, training, unique

GROUP = {"ModelPackageGroupName": "Prices"}
CONTAINER = {"Image": IMAGE}
INFERENCE = {
    "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://bucket/model.tar.gz"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}


def refused(call, **request):
    with pytest.raises(ClientError) as error:
        call(**request)
    return error.value.response["Error"]


@pytest.fixture(scope="module")
def unchecked(cloud):
    """boto3 that sends whatever it is given."""
    return cloud.client("sagemaker", parameter_validation=False)


JOB = {"ProcessingJobName": "j", **processing("s3://bucket/x.py")}
TRAIN = {"TrainingJobName": "t", **training("s3://bucket/x.tar.gz")}
PIPELINE = {
    "PipelineName": "p",
    "RoleArn": ROLE,
    "PipelineDefinition": "{}",
    "ClientRequestToken": "x" * 32,
}


@pytest.mark.parametrize(
    "operation, request_, code, words",
    [
        (
            "create_pipeline",
            PIPELINE | {"PipelineName": "no_underscore"},
            "ValidationException",
            ["1 validation error detected", "'no_underscore' at 'pipelineName'", "pattern"],
        ),
        (
            "create_pipeline",
            PIPELINE | {"PipelineName": "x" * 257, "RoleArn": "r"},
            "ValidationException",
            ["validation errors detected", "less than or equal to 256", "'roleArn'"],
        ),
        ("create_pipeline", {"PipelineName": "p"}, "ValidationException", ["null at 'roleArn'"]),
        (
            "create_pipeline",
            PIPELINE | {"ClientRequestToken": "short"},
            "ValidationException",
            ["'clientRequestToken'", "greater than or equal to 32"],
        ),
        ("create_pipeline", PIPELINE | {"PipelineName": 5}, "SerializationException", ["string"]),
        (
            "list_pipelines",
            {"MaxResults": 101},
            "ValidationException",
            ["'maxResults'", "less than or equal to 100"],
        ),
        ("list_pipelines", {"MaxResults": 0}, "ValidationException", ["'maxResults'"]),
        ("list_pipelines", {"SortOrder": "Up"}, "ValidationException", ["Ascending, Descending"]),
        ("list_pipelines", {"NextToken": "made-up"}, "ValidationException", ["NextToken"]),
        (
            "create_processing_job",
            JOB | {"ProcessingInputs": [{"InputName": "a", "S3Input": {"S3Uri": "s3://b/x"}}]},
            "ValidationException",
            ["null at 'processingInputs.1.member.s3Input.s3DataType'"],
        ),
        (
            "create_processing_job",
            JOB | {"Environment": {"A": 5}},
            "SerializationException",
            ["environment.A", "string"],
        ),
        (
            "create_training_job",
            TRAIN | {"HyperParameters": {"a": "x" * 2501}},
            "ValidationException",
            ["'hyperParameters.a.member'", "2500"],
        ),
        (
            "create_training_job",
            TRAIN | {"TrainingJobName": "-t"},
            "ValidationException",
            ["trainingJobName"],
        ),
        (
            "create_training_job",
            TRAIN | {"ResourceConfig": TRAIN["ResourceConfig"] | {"InstanceCount": 2}},
            "UnsupportedOperation",
            ["InstanceCount 2", "set it to 1"],
        ),
        (
            "create_training_job",
            TRAIN | {"CheckpointConfig": {"S3Uri": "s3://bucket/c"}},
            "UnsupportedOperation",
            ["CheckpointConfig"],
        ),
        (
            "create_model_package",
            GROUP | {"ModelPackageName": "both"},
            "ValidationException",
            ["either"],
        ),
        (
            "add_tags",
            {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:pipeline/x", "Tags": []},
            "ValidationException",
            ["does not exist"],
        ),
    ],
)
def test_refuses_a_request(unchecked, operation, request_, code, words):
    error = refused(getattr(unchecked, operation), **request_)
    assert error["Code"] == code, error
    assert all(word in error["Message"] for word in words), error["Message"]


def test_refuses_a_member_that_the_shape_does_not_have(cloud):
    signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sagemaker/aws4_request"
    request = urllib.request.Request(
        cloud.url,
        data=json.dumps({"MaxResult": 5}).encode(),
        headers={"X-Amz-Target": "SageMaker.ListPipelines", "Authorization": signed} | cloud.token,
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.headers["x-amzn-ErrorType"] == "ValidationException"
    said = json.load(error.value)
    assert said["__type"] == "ValidationException"
    assert "'maxResult'" in said["message"] and "MaxResults" in said["message"]


@pytest.mark.parametrize(
    "operation, request_, code",
    [
        ("describe_pipeline", {"PipelineName": "nope"}, "ResourceNotFound"),
        ("start_pipeline_execution", {"PipelineName": "nope"}, "ResourceNotFound"),
        ("delete_pipeline", {"PipelineName": "nope"}, "ResourceNotFound"),
        ("describe_processing_job", {"ProcessingJobName": "nope"}, "ResourceNotFound"),
        ("stop_training_job", {"TrainingJobName": "nope"}, "ResourceNotFound"),
        ("describe_model_package", {"ModelPackageName": "nope"}, "ValidationException"),
        ("describe_model_package_group", {"ModelPackageGroupName": "n"}, "ValidationException"),
        ("describe_model", {"ModelName": "nope"}, "ValidationException"),
        (
            "describe_pipeline_execution",
            {
                "PipelineExecutionArn": "arn:aws:sagemaker:us-east-1:123456789012:"
                "pipeline/p/execution/e"
            },
            "ResourceNotFound",
        ),
    ],
)
def test_says_what_does_not_exist(cloud, operation, request_, code):
    error = refused(getattr(cloud.sm, operation), **request_)
    assert error["Code"] == code
    assert "does not exist" in error["Message"] or "not" in error["Message"]


def test_an_unsupported_operation_is_refused_by_name_and_not_retried(cloud):
    client = cloud.client("sagemaker")
    sent = []
    client.meta.events.register("before-send.sagemaker", lambda **_: sent.append(1))
    error = refused(client.describe_feature_group, FeatureGroupName="f")
    assert error["Code"] == "UnsupportedOperation"
    assert "DescribeFeatureGroup" in error["Message"]
    assert len(sent) == 1


def test_a_runtime_request_is_refused_by_name(cloud):
    runtime = cloud.client("sagemaker-runtime")
    stream = runtime.invoke_endpoint_with_response_stream
    error = refused(stream, EndpointName="e", Body=b"")
    assert error["Code"] == "UnsupportedOperation"
    assert "InvokeEndpointWithResponseStream" in error["Message"]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"X-Amz-Security-Token": None}, 403),
        ({"X-Amz-Security-Token": "guessed"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize(
    "path", ["/", "/bucket/x", "/endpoints/e/invocations", "/_sagemaker_local/faults"]
)
def test_only_programs_of_this_user_are_let_in(cloud, path, headers, status):
    host = cloud.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    body = None if path == "/" else b"x" * 1000
    headers = {k: v for k, v in ({"Host": host} | cloud.token | headers).items() if v is not None}
    connection.request("GET" if path == "/" else "POST", path, body, headers)
    response = connection.getresponse()
    assert (response.status == 403) == (status == 403)
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    connection.close()


def test_what_is_nested_too_deeply_is_refused(cloud):
    signed = "AWS4-HMAC-SHA256 Credential=local/20000101/us-east-1/sagemaker/aws4_request"
    headers = {"X-Amz-Target": "SageMaker.ListModels", "Authorization": signed} | cloud.token
    asked = urllib.request.Request(cloud.url, b'{"a":' * 100_000, headers)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(asked)
    assert error.value.code == 400
    assert json.load(error.value)["__type"] == "ValidationException"


def test_s3_is_refused_in_its_own_words(cloud):
    error = refused(cloud.s3.get_object, Bucket="moto-api", Key="data.json")
    assert error["Code"] == "AccessDenied" and "moto's own interface" in error["Message"]


def test_motos_own_interface_is_closed(cloud):
    with pytest.raises(urllib.error.HTTPError) as error:
        asked = urllib.request.Request(f"{cloud.url}/moto-api/reset", b"", cloud.token)
        urllib.request.urlopen(asked)
    assert error.value.code == 403 and b"moto's own interface" in error.value.read()


def test_a_name_in_use_is_refused(cloud):
    name = create(cloud, definition(fail("A", "x")))
    error = refused(create, cloud=cloud, document=definition(fail("A", "x")), name=name)
    assert error["Code"] == "ValidationException"
    assert "must be unique within an AWS account" in error["Message"]


def test_a_definition_is_checked_when_it_is_created_and_updated(cloud):
    error = refused(create, cloud=cloud, document="not json")
    assert error["Code"] == "ValidationException" and "not JSON" in error["Message"]
    name = create(cloud, definition(fail("A", "x")))
    error = refused(cloud.sm.update_pipeline, PipelineName=name, PipelineDefinition="{}")
    assert "Version" in error["Message"]
    described = cloud.sm.describe_pipeline(PipelineName=name)
    assert json.loads(described["PipelineDefinition"]) == definition(fail("A", "x"))


def test_a_definition_may_come_from_s3(cloud):
    cloud.put("definitions/p.json", json.dumps(definition(fail("A", "from s3"))))
    where = {"Bucket": "bucket", "ObjectKey": "definitions/p.json"}
    arn = cloud.sm.create_pipeline(
        PipelineName="from-s3", RoleArn=ROLE, PipelineDefinitionS3Location=where
    )["PipelineArn"]
    assert "from s3" in cloud.sm.describe_pipeline(PipelineName=arn)["PipelineDefinition"]
    error = refused(
        cloud.sm.create_pipeline,
        PipelineName="p2",
        RoleArn=ROLE,
        PipelineDefinitionS3Location=where | {"ObjectKey": "nope"},
    )
    assert "s3://bucket/nope" in error["Message"]


def test_pipelines_are_updated_listed_and_deleted(cloud):
    name = create(cloud, definition(fail("A", "x")), PipelineDescription="first")
    before = cloud.sm.describe_pipeline(PipelineName=name)
    cloud.sm.update_pipeline(PipelineName=name, PipelineDescription="second")
    after = cloud.sm.describe_pipeline(PipelineName=name)
    assert after["PipelineDescription"] == "second"
    assert after["CreationTime"] == before["CreationTime"] < after["LastModifiedTime"]
    listed = cloud.sm.list_pipelines(PipelineNamePrefix=name)["PipelineSummaries"]
    assert [item["PipelineName"] for item in listed] == [name]
    cloud.sm.delete_pipeline(PipelineName=name)
    assert not cloud.sm.list_pipelines(PipelineNamePrefix=name)["PipelineSummaries"]


def test_lists_come_in_pages_sorted_and_filtered(cloud):
    prefix = unique("paged")
    for number in range(5):
        cloud.sm.create_model(
            ModelName=f"{prefix}-{number}", ExecutionRoleArn=ROLE, PrimaryContainer=CONTAINER
        )
    pages = cloud.sm.get_paginator("list_models").paginate(
        NameContains=prefix.upper(), SortBy="Name", SortOrder="Ascending", MaxResults=2
    )
    names = [[model["ModelName"] for model in page["Models"]] for page in pages]
    assert [len(page) for page in names] == [2, 2, 1]
    assert sum(names, []) == [f"{prefix}-{number}" for number in range(5)]
    newest = cloud.sm.list_models(NameContains=prefix)["Models"]
    assert newest[0]["ModelName"] == f"{prefix}-4"
    hour_ago = newest[0]["CreationTime"] - datetime.timedelta(hours=1)
    for member, number in (("CreationTimeAfter", 5), ("CreationTimeBefore", 0)):
        found = cloud.sm.list_models(NameContains=prefix, **{member: hour_ago})["Models"]
        assert len(found) == number
    cloud.sm.delete_model(ModelName=f"{prefix}-0")
    assert len(cloud.sm.list_models(NameContains=prefix)["Models"]) == 4


def test_tags(cloud):
    name = unique("tagged")
    arn = cloud.sm.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer=CONTAINER,
        Tags=[{"Key": "team", "Value": "prices"}],
    )["ModelArn"]
    cloud.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "größe", "Value": "1"}])
    cloud.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "other"}])
    tags = {tag["Key"]: tag["Value"] for tag in cloud.sm.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"team": "other", "größe": "1"}
    cloud.sm.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert [tag["Key"] for tag in cloud.sm.list_tags(ResourceArn=arn)["Tags"]] == ["größe"]
    error = refused(cloud.sm.add_tags, ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": ""}])
    assert "reserved" in error["Message"]
    many = [{"Key": str(n), "Value": ""} for n in range(50)]
    assert refused(cloud.sm.add_tags, ResourceArn=arn, Tags=many)["Code"] == "ResourceLimitExceeded"


def test_regions_are_apart(cloud):
    name = unique("regional")
    for region, partition in (("cn-north-1", "aws-cn"), ("us-isof-south-1", "aws-iso-f")):
        elsewhere = cloud.client("sagemaker", region=region)
        arn = elsewhere.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=CONTAINER
        )["ModelArn"]
        assert arn == f"arn:{partition}:sagemaker:{region}:123456789012:model/{name}"
    assert refused(cloud.sm.describe_model, ModelName=name)["Code"] == "ValidationException"


# The registry


@pytest.fixture(scope="module")
def group(cloud):
    cloud.sm.create_model_package_group(**GROUP)
    return GROUP["ModelPackageGroupName"]


def register(cloud, group, **members):
    return cloud.sm.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=INFERENCE, **members
    )["ModelPackageArn"]


def test_versions_count_up_and_are_never_used_twice(cloud, group):
    first, second = register(cloud, group), register(cloud, group)
    number = int(first.rpartition("/")[2])
    assert second == first.replace(f"/{number}", f"/{number + 1}")
    cloud.sm.delete_model_package(ModelPackageName=second)
    assert register(cloud, group).endswith(f"/{number + 2}")


def test_approval(cloud, group, state):
    arn = register(cloud, group, CustomerMetadataProperties={"mse": "4.5", "git": "abc"})
    package = cloud.sm.describe_model_package(ModelPackageName=arn)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    cloud.sm.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="looks fine",
        CustomerMetadataProperties={"by": "me"},
        CustomerMetadataPropertiesToRemove=["git"],
    )
    package = cloud.sm.describe_model_package(ModelPackageName=arn)
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["ApprovalDescription"] == "looks fine"
    assert package["CustomerMetadataProperties"] == {"mse": "4.5", "by": "me"}
    assert package["LastModifiedBy"]["IamIdentity"]["Arn"]
    (container,) = package["InferenceSpecification"]["Containers"]
    assert container.pop("ImageDigest").startswith("sha256:")
    assert package["InferenceSpecification"] == INFERENCE
    listed = cloud.sm.list_model_packages(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved"
    )["ModelPackageSummaryList"]
    assert [item["ModelPackageArn"] for item in listed] == [arn]
    events = [json.loads(line) for line in (state / "events.jsonl").read_text().splitlines()]
    about = [event for event in events if event["resources"] == [arn]]
    assert [event["detail"]["ModelApprovalStatus"] for event in about] == [
        "PendingManualApproval",
        "Approved",
    ]
    assert about[1]["detail-type"] == "SageMaker Model Package State Change"
    assert about[1]["detail"]["UpdatedModelPackageFields"] == ["ModelApprovalStatus"]


def test_approval_reaches_a_rules_log_group(cloud, group):
    events, logs = cloud.client("events"), cloud.client("logs")
    logs.create_log_group(logGroupName="/aws/events/approvals")
    target = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/events/approvals"
    pattern = {"detail": {"ModelApprovalStatus": ["Rejected"]}}
    events.put_rule(Name="approvals", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="approvals", Targets=[{"Id": "log", "Arn": target}])
    arn = register(cloud, group)
    cloud.sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Rejected")

    from local_helpers import until

    def messages():
        found = logs.filter_log_events(logGroupName="/aws/events/approvals")["events"]
        return [json.loads(event["message"]) for event in found]

    (event,) = until(messages)
    assert event["detail"]["ModelPackageArn"] == arn


def test_a_group_with_packages_is_kept(cloud):
    name = unique("group")
    cloud.sm.create_model_package_group(ModelPackageGroupName=name)
    error = refused(cloud.sm.create_model_package_group, ModelPackageGroupName=name)
    assert "already exists" in error["Message"]
    arn = register(cloud, name)
    error = refused(cloud.sm.delete_model_package_group, ModelPackageGroupName=name)
    assert error["Code"] == "ConflictException"
    cloud.sm.delete_model_package(ModelPackageName=arn)
    cloud.sm.delete_model_package_group(ModelPackageGroupName=name)
    error = refused(cloud.sm.describe_model_package_group, ModelPackageGroupName=name)
    assert error["Code"] == "ValidationException"


def test_an_unversioned_package(cloud):
    name = unique("package")
    arn = cloud.sm.create_model_package(ModelPackageName=name, InferenceSpecification=INFERENCE)[
        "ModelPackageArn"
    ]
    assert cloud.sm.describe_model_package(ModelPackageName=name)["ModelPackageArn"] == arn
    listed = cloud.sm.list_model_packages(NameContains=name)["ModelPackageSummaryList"]
    assert [item["ModelPackageName"] for item in listed] == [name]


def test_a_presigned_url_carries_the_secret(cloud):
    cloud.put("shared", "x")
    asked = {"Bucket": "bucket", "Key": "shared"}
    for version in ("s3", "s3v4"):
        url = cloud.client("s3", signature_version=version).generate_presigned_url(
            "get_object", asked
        )
        assert urllib.request.urlopen(url).read() == b"x"
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(url.replace(cloud.local.secret, "guessed"))
        assert error.value.code == 403


def test_a_wrong_secret_is_refused_and_the_message_says_where_credentials_come_from(cloud):
    for service, ask in (
        ("sagemaker", lambda client: client.list_models()),
        ("s3", lambda client: client.list_buckets()),
        ("iam", lambda client: client.list_roles()),
    ):
        stranger = boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=cloud.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        error = refused(ask, client=stranger)
        assert error["Code"] == "InvalidClientTokenId" and "sagemaker-local up" in error["Message"]


def test_credentials_of_an_assumed_role_are_let_in(cloud):
    role = "arn:aws:iam::123456789012:role/deployer"
    given = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    keys = {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }
    sts = boto3.client("sts", region_name="us-east-1", endpoint_url=cloud.url, **keys)
    assert sts.get_caller_identity()["Arn"].endswith("assumed-role/deployer/me")
