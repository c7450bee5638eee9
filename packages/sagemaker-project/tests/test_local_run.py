"""`run-pipeline --local` from end to end, and what it leaves behind."""

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import boto3
import psutil
import pytest
import yaml
from botocore.exceptions import ClientError
from sagemaker_emulator import attach
from sagemaker_project.build.display import print_data_report
from sagemaker_project.build.execution import StepRun, follow
from sagemaker_project.build.run import show_end
from sagemaker_project.errors import RunFailed, Timeout
from test_tabular_report import Page

MODULE = "pipelines.abalone.pipeline"
ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMakerProjectsExecutionRole"
RUN = ["--local", "--module-name", MODULE, "--role-arn", ROLE]
SAMPLE = "data/abalone-sample.csv"


@pytest.fixture(scope="module")
def project(make_project):
    """A project of this module's own: its state fills up."""
    project = make_project()
    yield project
    assert_no_process_left(project)


@pytest.fixture(scope="module")
def first_run(project):
    """A run with a server of its own."""
    done = project.run("run-pipeline", *RUN, "--input-data", SAMPLE)
    assert_no_process_left(project)
    return done


@pytest.fixture(scope="module")
def server(project, first_run):
    """The project's server with the state of the first run; the runs of these tests join it."""
    with attach(project.path) as local:
        yield local


@pytest.fixture(scope="module")
def aws(server):
    """Return a client of the server for a service."""
    session = boto3.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",
        aws_session_token=server.secret,
        region_name=server.region,
    )
    return lambda service: session.client(service, endpoint_url=server.url)


def metric_lines(done):
    return re.findall(r"^(?:mse|rmse|mae|r2) .+$", done.stdout, re.MULTILINE)


def processes_of(project):
    """Processes that were started in or for the project's folder."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        with contextlib.suppress(psutil.Error):
            if str(project.path) in " ".join([process.cwd(), *process.info["cmdline"]]):
                found.append(process.info["cmdline"])
    return found


def boto3_in(project, code):
    """Run boto3 code against the project's local SageMaker; what it prints last is JSON."""
    done = project.run(
        "sagemaker-local",
        *("run", "--", sys.executable, "-c"),
        f"import boto3, json\nsm = boto3.client('sagemaker')\ns3 = boto3.client('s3')\n{code}",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_no_process_left(project):
    deadline = time.monotonic() + 15
    while processes_of(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(project) == []


def read_object(aws, uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def first_package(sagemaker):
    """The first version in the model registry."""
    [summary] = sagemaker.list_model_packages(
        ModelPackageGroupName="AbalonePackageGroup",
        SortBy="CreationTime",
        SortOrder="Ascending",
        MaxResults=1,
    )["ModelPackageSummaryList"]
    return sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])


def test_the_banners_of_the_seed_come_in_order(first_run):
    assert first_run.returncode == 0, first_run.stderr
    banners = [
        "###### Creating/updating a SageMaker Pipeline with the following definition:",
        "###### Created/Updated SageMaker Pipeline: Response received:",
        "###### Execution started with PipelineExecutionArn: arn:aws:sagemaker:us-east-1:",
        "Waiting for the execution to finish...",
        "#####Execution completed. Execution step details:",
    ]
    places = [first_run.stdout.find(banner) for banner in banners]
    assert -1 not in places and places == sorted(places)
    assert first_run.stderr == ""


def test_it_ends_with_metrics_package_and_report(project, first_run):
    metrics = dict(re.findall(r"^(mse|rmse|mae|r2) (\S+)$", first_run.stdout, re.M))
    assert set(metrics) == {"mse", "rmse", "mae", "r2"}
    assert 0 < float(metrics["mse"]) < 6
    assert re.search(
        r"^model package arn:aws:sagemaker:us-east-1:\d{12}:model-package/AbalonePackageGroup/1$",
        first_run.stdout,
        re.M,
    )


def report_of(done):
    return Path(re.search(r"^report (.+)$", done.stdout, re.M)[1])


def execution_of(done):
    return re.search(r"started with PipelineExecutionArn: (\S+)$", done.stdout, re.M)[1]


def package_of(done):
    return re.search(r"^model package (\S+)$", done.stdout, re.M)[1]


def rows_of_index(project):
    """The rows of the list of reports, the newest run first."""
    page = (project.path / "reports/index.html").read_text()
    return re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2])


def test_the_report_says_what_only_the_run_knows_and_s3_has_the_same(project, first_run, aws):
    report = report_of(first_run).read_text()
    page = Page(report)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.path, capture_output=True, text=True
    ).stdout.strip()
    for fact in (commit, execution_of(first_run), package_of(first_run)):
        assert fact in page.text
    assert "svg" in dict(page.tags)
    package = first_package(aws("sagemaker"))
    quality = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    assert read_object(aws, quality.replace("evaluation.json", "report.html")).decode() == report


def test_the_list_of_reports_has_each_run_once_with_its_verdict(project, first_run):
    oldest = rows_of_index(project)[-1]
    folder = report_of(first_run).parent
    assert folder.parent == project.path / "reports"
    assert f'href="{folder.name}/report.html"' in oldest
    assert "✓ registered" in oldest and "version 1<" in oldest and "MSE" in oldest


def test_the_package_says_where_it_comes_from(project, aws):
    package = first_package(aws("sagemaker"))
    quality = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    metrics = json.loads(read_object(aws, quality))
    [container] = package["InferenceSpecification"]["Containers"]
    model = read_object(aws, container["ModelDataUrl"])
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    metadata = package["CustomerMetadataProperties"]
    assert metadata["ModelSha256"] == hashlib.sha256(model).hexdigest()
    assert re.fullmatch(r"[0-9a-f]{64}", metadata["DataSha256"])
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.path, capture_output=True, text=True
    )
    assert metadata["GitCommit"].removesuffix("-dirty") == commit.stdout.strip()
    assert float(metadata["Mse"]) == metrics["regression_metrics"]["mse"]["value"]
    assert (
        metadata["DataSha256"]
        == hashlib.sha256(read_object(aws, metadata["InputDataUrl"])).hexdigest()
    )
    steps = aws("sagemaker").list_pipeline_execution_steps(
        PipelineExecutionArn=metadata["PipelineExecutionArn"]
    )["PipelineExecutionSteps"]
    jobs = {kind: about.get("Arn", "") for s in steps for kind, about in s["Metadata"].items()}
    assert jobs["RegisterModel"] == package["ModelPackageArn"]
    assert jobs["TrainingJob"].endswith(f"/{metadata['TrainingJobName']}")
    assert package["ModelCard"]["ModelCardStatus"] == "Draft"
    card = json.loads(package["ModelCard"]["ModelCardContent"])
    assert card["additional_information"]["custom_details"]["owner"] == "Data Science Team"
    assert "sagemaker-scikit-learn:1.9-0" in container["Image"]
    assert container["Environment"]["OMP_NUM_THREADS"] == "1"
    with tarfile.open(fileobj=io.BytesIO(model)) as tar:
        assert {"model.joblib", "model.json", "code/inference.py"} <= set(tar.getnames())


@pytest.mark.acceptance
def test_the_same_metric_to_the_last_digit_in_another_project(first_run, aws, make_project):
    other = make_project()
    done = other.run("run-pipeline", *RUN, "--input-data", SAMPLE)
    assert metric_lines(done) == metric_lines(first_run)
    metadata = boto3_in(
        other,
        "page = sm.list_model_packages(ModelPackageGroupName='AbalonePackageGroup')\n"
        "arn = page['ModelPackageSummaryList'][0]['ModelPackageArn']\n"
        "package = sm.describe_model_package(ModelPackageName=arn)\n"
        "print(json.dumps(package['CustomerMetadataProperties']))",
    )
    expected = first_package(aws("sagemaker"))["CustomerMetadataProperties"]
    own = dict.fromkeys(("GitCommit", "PipelineExecutionArn", "TrainingJobName"), "")
    assert metadata | own == expected | own


def test_unchanged_steps_are_taken_from_the_earlier_execution(project, first_run, server):
    done = project.run("run-pipeline", *RUN, "--input-data", SAMPLE)
    assert done.stdout.count("taken from an earlier execution") == 3
    version = re.search(r"model-package/AbalonePackageGroup/(\d+)$", done.stdout, re.M)[1]
    assert int(version) > 1
    page = Page(report_of(done).read_text()).text
    assert "the metrics of an earlier run" in page
    assert package_of(done) in page and package_of(first_run) not in page
    row = rows_of_index(project)[0]
    assert execution_of(done) in row and "reused" in row
    assert execution_of(first_run) in rows_of_index(project)[-1]


@pytest.mark.acceptance
def test_new_data_under_an_old_name_is_noticed(project, aws, first_run):
    bucket, key = "sagemaker-us-east-1-123456789012", "moving/data.csv"
    rows = (project.path / SAMPLE).read_text().splitlines(keepends=True)
    outputs = []
    for text in ("".join(rows), "".join(rows[:-100])):
        aws("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())
        done = project.run(
            "run-pipeline", *RUN, "--parameters", f"InputDataUrl=s3://{bucket}/{key}"
        )
        assert done.returncode == 0, done.stderr
        assert "taken from an earlier execution" not in done.stdout
        outputs.append(metric_lines(done))
    assert outputs[0] == metric_lines(first_run) != outputs[1]


@pytest.mark.acceptance
def test_another_name_another_partition(make_project):
    project = make_project(
        project_name='Kündigung: "wer geht?"',
        project_slug="churn",
        pipeline_name="customer_churn",
        aws_region="cn-north-1",
    )
    role = ROLE.replace("arn:aws:", "arn:aws-cn:")
    command = ["--local", "-n", "pipelines.customer_churn.pipeline", "-role-arn", role]
    done = project.run("run-pipeline", *command, "--input-data", SAMPLE)
    assert done.returncode == 0, done.stderr
    arn = "arn:aws-cn:sagemaker:cn-north-1:123456789012:model-package"
    assert f"model package {arn}/CustomerChurnPackageGroup/1" in done.stdout


ARN = "arn:aws:sagemaker:us-east-1:123456789012"


def test_what_cannot_be_read_at_the_end_does_not_hide_how_it_ended(capsys):
    def denied(**_):
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeProcessingJob")

    steps = [
        StepRun("Evaluate", "Succeeded", 1.0, "", f"{ARN}:processing-job/evaluate", ""),
        StepRun("Train", "Failed", 1.0, "out of luck", f"{ARN}:training-job/train", ""),
    ]
    ended = {"PipelineExecutionStatus": "Failed", "PipelineExecutionArn": f"{ARN}/execution/1"}
    client = SimpleNamespace(describe_processing_job=denied)
    with pytest.raises(RunFailed, match="ended as Failed: step Train: out of luck"):
        show_end(client, None, ended, steps, is_local=False)
    printed = capsys.readouterr()
    assert "log of Train: aws logs tail /aws/sagemaker/TrainingJobs" in printed.out
    assert "AccessDenied" in printed.err


def test_what_preprocessing_has_found_is_told_and_warnings_come_first(capsys):
    note = {"column": "height", "reason": "zero", "count": 2}
    report = {
        "file": "a.csv",
        "rows": {"read": 1200, "dropped": 3},
        "splits": {"train": 800, "validation": 200, "test": 197},
        "dropped": [note | {"examples": [{"line": 7}, {"line": 9, "file": "b.csv"}]}],
        "suspicious": [note | {"examples": [{"line": n}]} for n in range(12)],
        "warnings": ["column 'x' leaks the label"],
    }
    print_data_report(report)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "a.csv: 1,200 rows read, 3 dropped; 800 train, 200 validation, 197 test",
        "warning: column 'x' leaks the label",
        "dropped: column 'height' zero in 2 row(s), line 7, b.csv:9",
    ]
    assert len(lines) == 12 and lines[-1] == "and 4 more about the data: the report has them"


class FakeSageMaker:
    """An execution without steps that ends after so many looks; its clock moves as one sleeps."""

    def __init__(self, looks):
        self.looks, self.now, self.sleeps = looks, 0.0, []

    def describe_pipeline_execution(self, PipelineExecutionArn):
        self.looks -= 1
        return {"PipelineExecutionStatus": "Executing" if self.looks > 0 else "Succeeded"}

    def get_paginator(self, _):
        return SimpleNamespace(paginate=lambda **_: [{"PipelineExecutionSteps": []}])

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds

    def follow(self, timeout):
        show = [].append
        return follow(self, ARN, timeout, show, clock=lambda: self.now, sleep=self.sleep)


def test_an_execution_is_looked_at_often_at_first_and_then_less():
    fake = FakeSageMaker(looks=1000)
    assert fake.follow(timeout=86_400) == ({"PipelineExecutionStatus": "Succeeded"}, [])
    assert fake.sleeps == sorted(fake.sleeps)
    assert (fake.sleeps[0], fake.sleeps[-1]) == (0.05, 30)


def test_an_execution_that_does_not_end_in_time_is_named():
    fake = FakeSageMaker(looks=10**9)
    with pytest.raises(Timeout, match=f"after 60 s the execution is still Executing: {ARN}"):
        fake.follow(timeout=60)
    assert 60 < fake.now < 65


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("variable", "parameters"),
    [("0.1", []), ("100", ["--parameters", "MseThreshold=0.1"])],
    ids=["variable", "parameter"],
)
def test_a_model_over_the_threshold_ends_in_the_fail_step(project, server, variable, parameters):
    """The threshold is a parameter; as a variable of CodeBuild it gives way to one."""
    done = project.run(
        *("run-pipeline", *RUN, "--input-data", SAMPLE, *parameters),
        env={"MSE_THRESHOLD": variable},
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(
        r"is not registered: refused: mse is \d\S+, at most 0.1 is wanted: worse by \d", done.stderr
    )
    assert "model package" not in done.stdout
    assert "refused" in rows_of_index(project)[0]


def bad_rows(project):
    """The sample with a word for a number in line 17."""
    rows = (project.path / SAMPLE).read_text().splitlines()
    rows[16] = rows[16].replace(",", ",tall,", 1).rsplit(",", 1)[0]
    return "\n".join(rows) + "\n"


def test_bad_data_is_told_once_before_anything_is_created(project, server, aws, tmp_path):
    data = tmp_path / "bad rows.csv"
    data.write_text(bad_rows(project))
    uploads = "sagemaker-us-east-1-123456789012/AbalonePipeline/input"

    def objects():
        bucket, _, prefix = uploads.partition("/")
        return aws("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"]

    before = objects()
    done = project.run("run-pipeline", *RUN, "--input-data", data)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    place = "bad rows.csv: line 17, column 'length': 'tall' is not a number"
    assert line.startswith(f"run-pipeline: --input-data: {place}")
    assert "######" not in done.stdout and objects() == before > 0


def test_bad_data_in_s3_ends_the_run_at_once_with_line_column_and_log(project, server, aws):
    bucket, key = "sagemaker-us-east-1-123456789012", "bad/bad rows.csv"
    aws("s3").put_object(Bucket=bucket, Key=key, Body=bad_rows(project).encode())
    data = f"InputDataUrl=s3://{bucket}/{key}"
    done = project.run("run-pipeline", *RUN, "--parameters", data)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "step PreprocessAbaloneData" in done.stderr
    assert "bad rows.csv: line 17, column 'length': 'tall'" in done.stderr
    log = re.search(r"^log of \w+: .*sagemaker-local'? logs (\S+)$", done.stdout, re.M)
    assert "line 17" in project.run("sagemaker-local", "logs", log[1]).stdout


@pytest.mark.acceptance
def test_data_that_is_not_there_is_named_before_anything_is_created(project, server):
    done = project.run("run-pipeline", *RUN)
    assert done.returncode == 2
    assert "###### Created" not in done.stdout
    assert "there is nothing at s3://sagemaker-us-east-1-123456789012/Abalone/data/" in done.stderr


@pytest.mark.acceptance
def test_an_undeclared_parameter_starts_nothing(project, server):
    done = project.run("run-pipeline", *RUN, "--parameters", "Sead=1")
    assert done.returncode == 2
    assert "Did you mean Seed?" in done.stderr
    assert "Execution started" not in done.stdout


@pytest.mark.acceptance
def test_without_a_server_that_stays_a_run_must_wait_and_ends_with_its_command(make_project):
    project = make_project()
    done = project.run("run-pipeline", *RUN, "--no-wait")
    assert done.returncode == 2
    assert "sagemaker-local up" in done.stderr
    done = project.run("run-pipeline", *RUN, "--input-data", SAMPLE, "--timeout", "0.01")
    assert done.returncode == 1
    assert "after 0.01 s the execution is still Executing" in done.stderr
    assert "; it ends with this command" in done.stderr


@pytest.mark.acceptance
def test_with_a_server_that_stays_an_execution_outlives_its_command(project, aws):
    run = ["run-pipeline", *RUN, "--input-data", SAMPLE, "--parameters", "Seed=7"]
    done = project.run(*run, "--timeout", "0.01")
    assert done.returncode == 1 and "it ends with this command" not in done.stderr
    arn = re.search(r"is still Executing: (\S+)$", done.stderr.strip())[1]
    ended, _ = follow(aws("sagemaker"), arn, 100, show=lambda steps: None)
    assert ended["PipelineExecutionStatus"] == "Succeeded"


@pytest.mark.acceptance
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_a_state_that_opens(make_project, how):
    project = make_project()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.run_pipeline", *RUN, "--input-data", SAMPLE],
        cwd=project.path,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell would hand its ignored SIGINT down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if "Executing" in line:
            break
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    if how == signal.SIGINT:
        assert (process.returncode, errors) == (130, "run-pipeline: interrupted\n")
    assert_no_process_left(project)
    [status] = boto3_in(
        project,
        "page = sm.list_pipeline_executions(PipelineName='AbalonePipeline')\n"
        "print(json.dumps([execution['PipelineExecutionStatus']"
        " for execution in page['PipelineExecutionSummaries']]))",
    )
    assert status in ("Failed", "Stopped")


@pytest.mark.acceptance
def test_two_at_once_share_one_server(make_project):
    project = make_project()
    command = [sys.executable, "-m", "pipelines.run_pipeline", *RUN, "--input-data", SAMPLE]
    options = {"cwd": project.path, "env": project.env, "text": True}
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    packages = {re.search(r"model package \S+/(\d)", out)[1] for out, _ in outputs}
    assert packages == {"1", "2"}


@pytest.mark.acceptance
def test_buildspec_commands_run_as_they_stand(project, aws, tmp_path):
    """The build phase of codebuild-buildspec.yml in bash, with hostile values in its variables."""
    buildspec = yaml.safe_load((project.path / "codebuild-buildspec.yml").read_text())
    [build] = buildspec["phases"]["build"]["commands"]
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, module in (("run-pipeline", "pipelines.run_pipeline"), ("python", None)):
        arguments = f" -m {module}" if module else ""
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (scripts / name).chmod(0o755)
    for bucket in ("artifacts", "raw-data"):
        aws("s3").create_bucket(Bucket=bucket)
    sample = str(project.path / SAMPLE)
    aws("s3").upload_file(sample, "raw-data", "abalone/2026.csv")
    environment = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "SAGEMAKER_PROJECT_NAME": 'it\'s a "test" $(touch pwned) `x`',
        "SAGEMAKER_PROJECT_ID": "p-1",
        "SAGEMAKER_PIPELINE_ROLE_ARN": ROLE,
        "ARTIFACT_BUCKET": "artifacts",
        "AWS_REGION": "us-east-1",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": "0123abc",
        "INPUT_DATA_URL": "s3://raw-data/abalone/2026.csv",
    }
    command = ["run", "--", "bash", "-c", build]
    refused = project.run("sagemaker-local", *command, env=environment)
    assert refused.returncode != 0 and not (project.path / "pwned").exists()

    environment["SAGEMAKER_PROJECT_NAME"] = "abalone"
    done = project.run("sagemaker-local", *command, env=environment)
    assert done.returncode == 0, done.stderr
    assert "model-package/abalone-p-1/1" in done.stdout
    sagemaker = aws("sagemaker")
    page = sagemaker.list_model_packages(ModelPackageGroupName="abalone-p-1")
    arn = page["ModelPackageSummaryList"][0]["ModelPackageArn"]
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    assert package["CustomerMetadataProperties"]["GitCommit"] == "0123abc"
    url = package["CustomerMetadataProperties"]["InputDataUrl"]
    assert url == environment["INPUT_DATA_URL"]
    pipeline = sagemaker.describe_pipeline(PipelineName="abalone-p-1")["PipelineArn"]
    tags = sagemaker.list_tags(ResourceArn=pipeline)["Tags"]
    assert {"Key": "sagemaker:project-id", "Value": "p-1"} in tags
