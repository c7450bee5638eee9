"""`run-pipeline --local` from end to end, and what it leaves behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

MODULE = "pipelines.abalone.pipeline"
ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMakerProjectsExecutionRole"
RUN = ["--local", "--module-name", MODULE, "--role-arn", ROLE]
SAMPLE = "data/abalone-sample.csv"


@pytest.fixture(scope="module")
def project(make_project):
    """A project of this module's own: its state fills up."""
    project = make_project()
    yield project
    assert processes_of(project) == []


@pytest.fixture(scope="module")
def first_run(project):
    return project.run("run-pipeline", *RUN, "--input-data", SAMPLE)


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
    report = re.search(r"^report (.+)$", first_run.stdout, re.M)[1]
    assert "<svg" in (project.path / report).read_text()


def test_the_package_says_where_it_comes_from(project, first_run):
    package, metrics, keys = boto3_in(
        project,
        "[summary] = sm.list_model_packages(ModelPackageGroupName='AbalonePackageGroup',"
        " SortBy='CreationTime', SortOrder='Ascending', MaxResults=1)['ModelPackageSummaryList']\n"
        "package = sm.describe_model_package(ModelPackageName=summary['ModelPackageArn'])\n"
        "bucket, key = package['ModelMetrics']['ModelQuality']['Statistics']['S3Uri'][5:]"
        ".split('/', 1)\n"
        "metrics = json.load(s3.get_object(Bucket=bucket, Key=key)['Body'])\n"
        "model = package['InferenceSpecification']['Containers'][0]['ModelDataUrl']\n"
        "bucket, key = model[5:].split('/', 1)\n"
        "import hashlib, io, tarfile\n"
        "body = s3.get_object(Bucket=bucket, Key=key)['Body'].read()\n"
        "names = tarfile.open(fileobj=io.BytesIO(body)).getnames()\n"
        "package['sha256'] = hashlib.sha256(body).hexdigest()\n"
        "print(json.dumps([package, metrics, names], default=str))",
    )
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    metadata = package["CustomerMetadataProperties"]
    assert metadata["ModelSha256"] == package["sha256"]
    assert re.fullmatch(r"[0-9a-f]{64}", metadata["DataSha256"])
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.path, capture_output=True, text=True
    )
    assert metadata["GitCommit"].removesuffix("-dirty") == commit.stdout.strip()
    assert float(metadata["Mse"]) == metrics["regression_metrics"]["mse"]["value"]
    container = package["InferenceSpecification"]["Containers"][0]
    assert "sagemaker-scikit-learn:1.9-0" in container["Image"]
    assert container["Environment"]["OMP_NUM_THREADS"] == "1"
    assert {"model.joblib", "model.json", "code/inference.py"} <= set(keys)


def test_the_same_metric_to_the_last_digit_in_another_project(project, first_run, make_project):
    other = make_project()
    done = other.run("run-pipeline", *RUN, "--input-data", SAMPLE)
    assert metric_lines(done) == metric_lines(first_run)
    query = (
        "page = sm.list_model_packages(ModelPackageGroupName='AbalonePackageGroup')\n"
        "arn = page['ModelPackageSummaryList'][0]['ModelPackageArn']\n"
        "package = sm.describe_model_package(ModelPackageName=arn)\n"
        "metadata = package['CustomerMetadataProperties']\n"
        "del metadata['GitCommit']\n"
        "print(json.dumps(metadata))"
    )
    assert boto3_in(other, query) == boto3_in(project, query)


def test_unchanged_steps_are_taken_from_the_earlier_execution(project, first_run):
    done = project.run("run-pipeline", *RUN, "--input-data", SAMPLE)
    assert done.stdout.count("taken from an earlier execution") == 3
    assert "model-package/AbalonePackageGroup/2" in done.stdout


def test_new_data_under_an_old_name_is_noticed(project, tmp_path):
    uri = "s3://sagemaker-us-east-1-123456789012/moving/data.csv"
    rows = (project.path / SAMPLE).read_text().splitlines(keepends=True)

    def run_on(text):
        (tmp_path / "data.csv").write_text(text)
        boto3_in(
            project,
            f"s3.upload_file({str(tmp_path / 'data.csv')!r}, 'sagemaker-us-east-1-123456789012',"
            " 'moving/data.csv')\nprint('null')",
        )
        return project.run("run-pipeline", *RUN, "--parameters", f"InputDataUrl={uri}")

    first = run_on("".join(rows))
    second = run_on("".join(rows[:-100]))
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert "taken from an earlier execution" not in second.stdout
    assert metric_lines(first) != metric_lines(second)


def test_another_name_another_partition(make_project):
    project = make_project(
        project_name='Kündigung: "wer geht?"',
        project_slug="churn",
        pipeline_name="customer_churn",
        aws_region="cn-north-1",
    )
    role = ROLE.replace("arn:aws:", "arn:aws-cn:")
    command = ["--local", "-n", "pipelines.customer_churn.pipeline", "-role-arn", role]
    for version in "12":
        done = project.run("run-pipeline", *command, "--input-data", SAMPLE)
        assert done.returncode == 0, done.stderr
        arn = "arn:aws-cn:sagemaker:cn-north-1:123456789012:model-package"
        assert f"model package {arn}/CustomerChurnPackageGroup/{version}" in done.stdout


def test_what_cannot_be_read_at_the_end_does_not_hide_how_it_ended(project):
    done = project.python(
        "import types\n"
        "from botocore.exceptions import ClientError\n"
        "from sagemaker_project.build import execution as _execution, run as _run\n"
        "def denied(*_):\n"
        "    raise ClientError({'Error': {'Code': 'AccessDenied'}}, 'GetObject')\n"
        "job = 'arn:aws:sagemaker:us-east-1:123456789012:training-job/job'\n"
        "step = _execution.StepRun('Train', 'Failed', 1.0, 'out of luck', job, '')\n"
        "ended = {'PipelineExecutionStatus': 'Failed'}\n"
        "_run._client = lambda *_: None\n"
        "_execution.follow = lambda *_: (ended, [step])\n"
        "_execution.evaluation_files = denied\n"
        "args = types.SimpleNamespace(timeout=1, local=False)\n"
        "try:\n    _run._wait(None, 'arn/1', args)\n"
        "except _run.Failed as error:\n    print(error)\n"
    )
    assert "step Train: out of luck" in done.stdout.splitlines()[-1], done.stderr
    assert "log of Train: aws logs tail /aws/sagemaker/TrainingJobs" in done.stdout
    assert "AccessDenied" in done.stderr


def test_a_model_over_the_threshold_ends_in_the_fail_step(project, first_run):
    done = project.run(
        "run-pipeline", *RUN, "--input-data", SAMPLE, "--parameters", "MseThreshold=0.1"
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r"test mse \d\S+ is above MseThreshold 0.1", done.stderr)
    assert "model package" not in done.stdout


def test_bad_data_ends_at_once_with_line_column_and_log(project, tmp_path):
    rows = (project.path / SAMPLE).read_text().splitlines()
    rows[16] = rows[16].replace(",", ",tall,", 1).rsplit(",", 1)[0]
    data = tmp_path / "bad rows.csv"
    data.write_text("\n".join(rows) + "\n")
    done = project.run("run-pipeline", *RUN, "--input-data", data)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "step PreprocessAbaloneData" in done.stderr
    assert "bad rows.csv: line 17, column 'length': 'tall'" in done.stderr
    log = re.search(r"^log of \w+: .*sagemaker-local'? logs (\S+)$", done.stdout, re.M)
    assert "line 17" in project.run("sagemaker-local", "logs", log[1]).stdout


def test_data_that_is_not_there_is_named_before_anything_is_created(project):
    done = project.run("run-pipeline", *RUN)
    assert done.returncode == 2
    assert "###### Created" not in done.stdout
    assert "s3://sagemaker-servicecatalog-seedcode-us-east-1/dataset/" in done.stderr


def test_an_undeclared_parameter_starts_nothing(project):
    done = project.run("run-pipeline", *RUN, "--parameters", "Sead=1")
    assert done.returncode == 2
    assert "Did you mean Seed?" in done.stderr
    assert "Execution started" not in done.stdout


def test_no_wait_needs_a_server_that_stays(project):
    done = project.run("run-pipeline", *RUN, "--no-wait")
    assert done.returncode == 2
    assert "sagemaker-local up" in done.stderr


def test_a_timeout_ends_the_command(project):
    done = project.run(
        "run-pipeline", *RUN, "--input-data", SAMPLE, "--timeout", "0.01", "--parameters", "Seed=7"
    )
    assert done.returncode == 1
    assert "after 0.01 s the execution is still Executing" in done.stderr


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
    deadline = time.monotonic() + 15
    while processes_of(project) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(project) == []
    [status] = boto3_in(
        project,
        "page = sm.list_pipeline_executions(PipelineName='AbalonePipeline')\n"
        "print(json.dumps([execution['PipelineExecutionStatus']"
        " for execution in page['PipelineExecutionSummaries']]))",
    )
    assert status in ("Failed", "Stopped")


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


def test_buildspec_commands_run_as_they_stand(project, tmp_path):
    """The build phase of codebuild-buildspec.yml in bash, with hostile values in its variables."""
    buildspec = yaml.safe_load((project.path / "codebuild-buildspec.yml").read_text())
    [build] = buildspec["phases"]["build"]["commands"]
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, module in (("run-pipeline", "pipelines.run_pipeline"), ("python", None)):
        arguments = f" -m {module}" if module else ""
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (scripts / name).chmod(0o755)
    # The data where the pipeline looks by default: the buildspec gives it no other place.
    upload = (
        "import boto3; s3 = boto3.client('s3'); s3.create_bucket(Bucket='artifacts');"
        " s3.create_bucket(Bucket='sagemaker-servicecatalog-seedcode-us-east-1');"
        f" s3.upload_file({SAMPLE!r}, 'sagemaker-servicecatalog-seedcode-us-east-1',"
        " 'dataset/abalone-dataset.csv')"
    )
    environment = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "SAGEMAKER_PROJECT_NAME": 'it\'s a "test" $(touch pwned) `x`',
        "SAGEMAKER_PROJECT_ID": "p-1",
        "SAGEMAKER_PIPELINE_ROLE_ARN": ROLE,
        "ARTIFACT_BUCKET": "artifacts",
        "AWS_REGION": "us-east-1",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": "0123abc",
    }
    command = ["run", "--", "bash", "-c", f'python -c "{upload}"\n{build}']
    refused = project.run("sagemaker-local", *command, env=environment)
    assert refused.returncode != 0 and not (project.path / "pwned").exists()

    environment["SAGEMAKER_PROJECT_NAME"] = "abalone"
    done = project.run("sagemaker-local", *command, env=environment)
    assert done.returncode == 0, done.stderr
    assert "model-package/abalone-p-1/1" in done.stdout
    metadata, tags = boto3_in(
        project,
        "page = sm.list_model_packages(ModelPackageGroupName='abalone-p-1')\n"
        "arn = page['ModelPackageSummaryList'][0]['ModelPackageArn']\n"
        "package = sm.describe_model_package(ModelPackageName=arn)\n"
        "pipeline = sm.describe_pipeline(PipelineName='abalone-p-1')['PipelineArn']\n"
        "tags = sm.list_tags(ResourceArn=pipeline)['Tags']\n"
        "print(json.dumps([package['CustomerMetadataProperties'], tags]))",
    )
    assert metadata["GitCommit"] == "0123abc"
    assert {"Key": "sagemaker:project-id", "Value": "p-1"} in tags
