"""A project with a registry, a bucket and small models, deployed by `deploy-model` as people do."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import time
import uuid
from datetime import timedelta

import boto3
import pytest
from botocore.config import Config
from sagemaker_emulator import testing as faults
from sagemaker_project import Project, deploy
from sagemaker_project.clock import Clock

ROLE = "arn:aws:iam::123456789012:role/endpoint"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
SERVING = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
}
COMMANDS = {  # of a generated project, as modules
    "run-pipeline": "pipelines.run_pipeline",
    "get-pipeline-definition": "pipelines.get_pipeline_definition",
    "deploy-model": "deploy.deploy_model",
    "sagemaker-local": "sagemaker_emulator",
    "sagemaker-project": "sagemaker_project",
}
BUCKET = "sagemaker-us-east-1-123456789012"

# A model that multiplies, in the form of the project's own: a client's mistake is no exception.
INFERENCE = """
import json, os, time

class Response:
    def __init__(self, status, text):
        self.status_code, self.text = status, text
        self.headers = {"Content-Type": "application/json"}
    def get_data(self):
        return json.dumps({"error": self.text}).encode()

def model_fn(folder):
    with open(os.path.join(folder, "model.joblib")) as file:
        return json.load(file)

def input_fn(body, content_type):
    try:
        return [float(line) for line in body.split()]
    except ValueError as error:
        return Response(400, str(error))

def predict_fn(rows, model):
    if isinstance(rows, Response):
        return rows
    if model.get("broken"):
        raise RuntimeError("this model is broken")
    return [row * model["factor"] for row in rows]

def output_fn(prediction, accept):
    if isinstance(prediction, Response):
        return prediction
    return json.dumps({"predictions": prediction}), "application/json"
"""


def artifact(factor=2, broken=False, inference=INFERENCE, package=None):
    """The bytes of a model.tar.gz as train.py makes them, with a model of a few bytes.

    Args:
        package: {path below code/: text} of modules that inference.py imports.
    """
    model = json.dumps({"factor": factor, "broken": broken}).encode()
    about = {
        "files": {"model.joblib": hashlib.sha256(model).hexdigest()},
        "versions": {"scikit-learn": "1.9.0"},
    }
    files = {
        "code/inference.py": inference.encode(),
        **{f"code/{path}": text.encode() for path, text in (package or {}).items()},
        "model.joblib": model,
        "model.json": json.dumps(about).encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def samples(factor=2):
    """samples.json as evaluate.py writes it, for a model that multiplies."""
    csv = {"content_type": "text/csv", "accept": "application/json"}
    return json.dumps(
        {
            "samples": [
                {**csv, "body": "1", "expected": [1 * factor]},
                {**csv, "body": "2\n3", "expected": [2 * factor, 3 * factor]},
            ],
            "malformed": [{"name": "text", **csv, "body": "x", "status": 400}],
        }
    ).encode()


def project_in(folder, **changes):
    """PROJECT of a generated project."""
    about = {"name": "abalone", "region": "us-east-1", "pipeline": "abalone"}
    about |= {"model_package_group": "AbalonePackageGroup", "settings": folder / "deploy"}
    return Project(**about | changes)


class Cloud:
    """The clients of one server."""

    def __init__(self, local):
        self.local, self.url = local, local.url
        self.token = {"X-Amz-Security-Token": local.secret}
        self.sm = self.client("sagemaker")
        self.s3 = self.client("s3")

    def client(self, service, region="us-east-1", access_key="local", **config):
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=access_key,
            aws_secret_access_key="local",
            aws_session_token=self.local.secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def wait(describe, member, going, seconds=60):
    """What `describe` says once its `member` is none of `going`."""
    return until(lambda: (found := describe())[member] not in going and found, seconds)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "the wait timed out"
        time.sleep(0.02)
    return result


def some(cases, *kept):
    """Parameters of a test: those named `kept`, or the first; the others are of the acceptance."""
    named = cases.items() if isinstance(cases, dict) else ((str(case), (case,)) for case in cases)
    named = list(named)
    kept = kept or (named[0][0],)
    return [
        pytest.param(*values, id=name, marks=() if name in kept else pytest.mark.acceptance)
        for name, values in named
    ]


class Hurried(Clock):
    """A clock that does not wait: it is as much later as it was asked to wait."""

    def __init__(self):
        self.waited = 0.0

    def monotonic(self):
        return super().monotonic() + self.waited

    def sleep(self, seconds):
        self.waited += seconds


@contextlib.contextmanager
def s3_later(seconds):
    """Let S3 say, to whoever finds a lock, that it is so much later than it was written."""
    from sagemaker_project.deploy import lock

    real = lock.parsedate_to_datetime
    lock.parsedate_to_datetime = lambda text: real(text) + timedelta(seconds=seconds)
    try:
        yield
    finally:
        lock.parsedate_to_datetime = real


class Place:
    """A SageMaker project of a test's own: names, a group of packages, settings, the command."""

    def __init__(self, cloud, project, environment, workdir):
        self.cloud, self.sm, self.s3 = cloud, cloud.sm, cloud.s3
        self.project = project  # the folder of the generated project
        self.name = f"p{uuid.uuid4().hex[:8]}"
        self.group = f"{self.name}-group"
        self.environment = environment
        self.workdir = workdir
        self.gates = ()  # of the project's own
        self.clock = None  # that of this machine
        self.sm.create_model_package_group(ModelPackageGroupName=self.group)

    # The registry

    def register(
        self,
        factor=2,
        approve=True,
        body=None,
        metrics=None,
        expected=None,
        image=IMAGE,
        **members,
    ):
        """The ARN of a new version whose model multiplies by `factor`; it is approved."""
        body = artifact(factor) if body is None else body
        folder = f"{self.name}/{uuid.uuid4().hex}"
        expected = factor if expected is None else expected
        self.put(f"{folder}/model.tar.gz", body)
        content = {"regression_metrics": {"mse": {"value": 4.5}}} if metrics is None else metrics
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.put(f"{folder}/evaluation/evaluation.json", content)
        self.put(f"{folder}/evaluation/samples.json", samples(expected))
        container = {
            "Image": image,
            "ModelDataUrl": f"s3://{BUCKET}/{folder}/model.tar.gz",
            "Environment": SERVING,
        }
        statistics = {
            "ContentType": "application/json",
            "S3Uri": f"s3://{BUCKET}/{folder}/evaluation/evaluation.json",
        }
        answer = self.sm.create_model_package(
            ModelPackageGroupName=self.group,
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            ModelMetrics={"ModelQuality": {"Statistics": statistics}},
            CustomerMetadataProperties={
                "GitCommit": "0123456789abcdef",
                "DefinitionSha256": "e" * 64,
                "DataSha256": "d" * 64,
                "ModelSha256": hashlib.sha256(body).hexdigest(),
            },
            **members,
        )
        arn = answer["ModelPackageArn"]
        if approve:
            self.approve(arn)
        return arn

    def approve(self, arn, status="Approved", reason="looks good"):
        self.sm.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=reason
        )

    def put(self, key, body):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def artifact_key(self, arn):
        package = self.sm.describe_model_package(ModelPackageName=arn)
        url = package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
        return url.removeprefix(f"s3://{BUCKET}/")

    # Settings

    def settings(self, stage, **changes):
        """Change a stage's settings for this test; None takes a key away."""
        path = self.project / f"deploy/{stage}-config.json"
        content = json.loads(path.read_text()) | changes
        content = {name: value for name, value in content.items() if value is not None}
        path.write_text(json.dumps(content))

    # The command

    def main(self, arguments):
        """`deploy-model` of the project, in this process."""
        return deploy.main(project_in(self.project), arguments, self.gates, self.clock)

    def arguments(self, *words, stage="staging"):
        command, *rest = map(str, words)
        own = [
            *("--sagemaker-project-name", self.name, "--model-package-group-name", self.group),
            *("--model-execution-role", ROLE, "--region", "us-east-1", "--json"),
        ]
        where = [] if stage is None else ["--stage", stage]
        return [command, *where, *own, *rest]

    def deploy(self, *words, stage="staging"):
        """Run `deploy-model` in this process. The result is its JSON, with `stderr` beside it.

        Args:
            stage: None where the command is not to name one.
        """
        return self.typed(self.arguments(*words, stage=stage))

    def typed(self, words):
        """Run `deploy-model` with these words and no others but --json."""
        words = words if "--json" in words else [*words, "--json"]
        out, err = io.StringIO(), io.StringIO()
        with self.entered(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = self.main(words)
            except SystemExit as end:
                code = end.code
        result = json.loads(out.getvalue())
        assert result["ExitCode"] == code, json.dumps(result)
        return result | {"stderr": err.getvalue()}

    def logged(self, *words, stage="staging"):
        """(result, every call that the command made) of `deploy`."""
        faults.clear_calls(self.cloud.local)
        result = self.deploy(*words, stage=stage)
        return result, faults.calls(self.cloud.local)

    def inject(self, operation, kind, **details):
        faults.inject(self.cloud.local, operation, kind, **details)

    def clear_faults(self):
        faults.clear(self.cloud.local)

    @contextlib.contextmanager
    def entered(self):
        """Set the environment and working folder of a user who types the command."""
        before, folder = dict(os.environ), os.getcwd()
        os.environ.update(self.environment)
        os.chdir(self.workdir)
        try:
            yield
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)

    def staged(self, arn):
        """Promote a version to staging and test it there, both with success."""
        for words in (("promote", "--model-package-arn", arn), ("test",)):
            result = self.deploy(*words)
            assert result["ExitCode"] == 0, result
        return arn

    def in_prod(self, arn):
        self.staged(arn)
        result = self.deploy("promote", "--model-package-arn", arn, stage="prod")
        assert result["ExitCode"] == 0, result
        return arn

    def forget_head(self, stage="staging"):
        """Take the tag of the ledger's last entry from the endpoint: the ledger may be changed."""
        from sagemaker_project.deploy.ledger import HEAD_TAG

        with contextlib.suppress(self.sm.exceptions.ClientError):  # there is no endpoint
            arn = self.endpoint(stage)["EndpointArn"]
            self.sm.delete_tags(ResourceArn=arn, TagKeys=[HEAD_TAG])

    # What is there

    def endpoint(self, stage="staging"):
        return self.sm.describe_endpoint(EndpointName=f"{self.name}-{stage}")

    def settled(self, stage="staging"):
        """The endpoint once it is on its way to no other state."""
        going = ("Creating", "Updating", "RollingBack")
        return wait(lambda: self.endpoint(stage), "EndpointStatus", going)

    def live(self, stage="staging"):
        """The name of the endpoint configuration that serves, None without an endpoint."""
        try:
            return self.endpoint(stage)["EndpointConfigName"]
        except self.sm.exceptions.ClientError:
            return None

    def version(self, stage="staging"):
        """The version that serves, as its configuration's name tells it."""
        live = self.live(stage)
        return int(live.rsplit("-v", 1)[1].split("-")[0]) if live else None

    def answer(self, body="1", stage="staging"):
        runtime = self.cloud.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint(
            EndpointName=f"{self.name}-{stage}", Body=body, ContentType="text/csv"
        )
        return json.loads(answer["Body"].read())["predictions"]

    def resources(self):
        """Names of all models, endpoint configurations and endpoints of this project, and the
        keys of its copies of artifacts."""
        names = []
        for kind in ("model", "endpoint_config", "endpoint"):
            member = "".join(word.title() for word in kind.split("_"))
            pages = self.sm.get_paginator(f"list_{kind}s").paginate(NameContains=self.name)
            names += [item[f"{member}Name"] for page in pages for item in page[f"{member}s"]]
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.name}/deploy/")
        keys = [item["Key"] for item in listed.get("Contents", [])]
        return sorted([*names, *(key for key in keys if "/artifacts/" in key)])

    def copy_key(self, stage="staging"):
        """The key of the stage's copy of the artifact of its newest deployment."""
        (pin,) = self.entries(stage)[-1]["Deployment"]["Pins"]
        return pin["ServedUrl"].removeprefix(f"s3://{BUCKET}/")

    def entries(self, stage="staging"):
        """The entries of the stage's ledger, as stored."""
        prefix = f"{self.name}/deploy/{stage}/ledger/"
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        bodies = [self.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"] for item in listed]
        return [json.loads(body.read()) for body in bodies]


READS = ("Get", "List", "Describe", "Head", "BatchGet")


def changing(calls):
    """Those calls that change something; what is not known to read does."""
    return [call for call in calls if not call["operation"].startswith(READS)]


def refused(result, calls, *parts, code=3):
    """The command said no in one line, and changed nothing; the lock it took it gave back."""
    touched = [call for call in changing(calls) if not str(call["request"]).endswith("/lock.json")]
    assert touched == [], [call["operation"] for call in touched]
    assert result["ExitCode"] == code, result
    assert "\n" not in result["Message"] and "Traceback" not in result["stderr"]
    for part in parts:
        assert part in result["Message"], result["Message"]


@contextlib.contextmanager
def lists(order=lambda operation, items: items, loop=None):
    """boto3 as if AWS gave every list an item a page, with an empty page before and after each.

    Args:
        order: what becomes of a list's items.
        loop: (operation, period): its tokens repeat after so many pages, and it never ends.

    Yields the names of the operations that were answered so.
    """
    from botocore.client import BaseClient

    real, seen, kept = BaseClient._make_api_call, set(), {}

    def whole(client, operation, asked, rules, member):
        given, items, page = {}, [], None
        while page is None or rules["output_token"] in page:
            page = real(client, operation, asked | given)
            items += page.get(member, [])
            given = {rules["input_token"]: page.get(rules["output_token"])}
        return page, order(operation, items)

    def answer(client, operation, params):
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower()
        if not client.can_paginate(name):
            return real(client, operation, params)
        seen.add(operation)
        rules = client.get_paginator(name)._pagination_cfg
        member = rules["result_key"]
        member = member[0] if isinstance(member, list) else member
        asked = {k: v for k, v in params.items() if k not in (rules["input_token"], "MaxResults")}
        key = operation, json.dumps(asked, default=str)
        if rules["input_token"] not in params:
            kept[key] = whole(client, operation, asked, rules, member)
        page, items = dict(kept[key][0]), kept[key][1]
        at = int(params.get(rules["input_token"], "page-0").partition("-")[2])
        following = at + 1 if at < 2 * len(items) else None
        if loop and loop[0] == operation:
            following = (at + 1) % loop[1]
        page |= {member: [items[at // 2]] if at % 2 and at // 2 < len(items) else []}
        if following is not None:
            page[rules["output_token"]] = f"page-{following}"
        if "more_results" in rules:
            page[rules["more_results"]] = following is not None
        return page

    BaseClient._make_api_call = answer
    try:
        yield seen
    finally:
        BaseClient._make_api_call = real


def environment(cloud):
    """What points a program at one server, and lets it try often."""
    return cloud.local.environment | {"AWS_MAX_ATTEMPTS": "10"}
