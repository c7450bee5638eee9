"""The gate of the champion, as users meet it: what prod serves, and a run that has to stand it."""

import csv
import io
import json
import re
import sys
import tarfile

import boto3
import pytest
from sagemaker_emulator import attach

MODULE = "pipelines.abalone.pipeline"
ROLE = "arn:aws:iam::123456789012:role/local"
RUN = ["--local", "--module-name", MODULE, "--role-arn", ROLE]
SAMPLE = "data/abalone-sample.csv"
# Threads of a training that wait for each other spin, where others want the CPU as well.
ENV = {
    **{"SAGEMAKER_LOCAL_SPEED": "600", "MODEL_EXECUTION_ROLE_ARN": ROLE},
    **{"OMP_NUM_THREADS": "1", "SAGEMAKER_PROJECT_NAME": "abalone"},
}
CHAMPION, WORSE = "MaxIter=60", "MaxIter=25"  # the default is better than both
MSE = r"\d+\.\d+"
REUSED = "taken from an earlier execution"


class Served:
    """A project, a server with its state, and what prod serves there."""

    def __init__(self, project, local):
        self.project, self.local = project, local
        self.schema = project.path / "pipelines/abalone/schema.json"

    def client(self, service):
        return boto3.client(
            service,
            region_name=self.local.region,
            endpoint_url=self.local.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            aws_session_token=self.local.secret,
        )

    def run(self, *parameters, data=SAMPLE):
        words = ["--parameters", *parameters] if parameters else []
        return self.project.run("run-pipeline", *RUN, "--input-data", data, *words, env=ENV)

    def registered(self, *parameters, **options):
        """The ARN of the package that a run registers."""
        done = self.run(*parameters, **options)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return re.search(r"^model package (\S+)$", done.stdout, re.M)[1]

    def deploy(self, *words):
        done = self.project.run("deploy-model", *words, "--local", env=ENV)
        assert done.returncode == 0, done.stdout + done.stderr

    def bring_to_prod(self, arn):
        self.deploy("approve", arn, "--reason", "its metrics are good")
        self.deploy("promote", "--stage", "staging", "--model-package-arn", arn)
        self.deploy("test", "--stage", "staging")
        about = self.client("sagemaker").describe_model_package(ModelPackageName=arn)
        dirty = about["CustomerMetadataProperties"]["GitCommit"].endswith("-dirty")
        words = ["--accept-uncommitted"] if dirty else []
        self.deploy("promote", "--stage", "prod", "--model-package-arn", arn, *words)

    def registered_model(self, done):
        """The model.tar.gz of the package that a run registered."""
        arn = re.search(r"^model package (\S+)$", done.stdout, re.M)[1]
        about = self.client("sagemaker").describe_model_package(ModelPackageName=arn)
        [container] = about["InferenceSpecification"]["Containers"]
        bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
        body = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return tarfile.open(fileobj=io.BytesIO(body))

    def job(self, done, step):
        """The processing job of a run's step, described."""
        sagemaker = self.client("sagemaker")
        arn = re.search(r"PipelineExecutionArn: (\S+)", done.stdout)[1]
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)
        [found] = [one for one in steps["PipelineExecutionSteps"] if one["StepName"] == step]
        name = found["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
        return sagemaker.describe_processing_job(ProcessingJobName=name)

    def test_split(self, done):
        """The rows of a run's test split, as dicts."""
        outputs = self.job(done, "PreprocessAbaloneData")["ProcessingOutputConfig"]["Outputs"]
        [uri] = [one["S3Output"]["S3Uri"] for one in outputs if one["OutputName"] == "test"]
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        body = self.client("s3").get_object(Bucket=bucket, Key=f"{prefix}/test.csv")["Body"]
        return list(csv.DictReader(io.StringIO(body.read().decode())))


@pytest.fixture(scope="module")
def served(make_project):
    """A weak model serves in prod."""
    project = make_project()
    settings = project.path / "deploy/staging-config.json"  # the machine of a test may be busy
    lax = {"Requests": 20, "MaxP50Milliseconds": 10_000, "MaxP99Milliseconds": 20_000}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"EndpointTest": lax}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", ENV["SAGEMAKER_LOCAL_SPEED"])
        with attach(project.path) as local:
            served = Served(project, local)
            served.first = served.registered(CHAMPION)
            served.bring_to_prod(served.first)
            yield served


@pytest.fixture
def restored(served):
    """Schema.json is as before after the test."""
    before = served.schema.read_text()
    yield
    served.schema.write_text(before)


def refusal(done):
    assert done.returncode == 1 and "model package" not in done.stdout
    [line] = done.stderr.splitlines()
    return line


def test_a_worse_model_than_prod_serves_is_not_registered_and_told_why(served):
    done = served.run(WORSE)
    found = re.search(
        rf"step RefuseAbaloneModel: the model of execution \S+ is not registered: refused: mse is"
        rf" ({MSE}), and the champion \(version 1\) reaches ({MSE}) on the same rows: worse by"
        r" (\S+), (\S+) \(0\.02 of its value\) is tolerated$",
        refusal(done),
    )
    mine, best, gap, tolerated = map(float, found.groups())
    assert gap == pytest.approx(mine - best, rel=0.01) and gap > tolerated
    assert tolerated == pytest.approx(0.02 * best, rel=0.01)
    evaluate = served.job(done, "EvaluateAbaloneModel")
    arguments = evaluate["AppSpecification"]["ContainerArguments"]
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert given["--champion-package"] == served.first
    assert re.fullmatch(r"[0-9a-f]{64}", given["--champion-sha256"])
    inputs = {i["InputName"]: i["S3Input"]["S3Uri"] for i in evaluate["ProcessingInputs"]}
    assert f"/prod/artifacts/{given['--champion-sha256']}/" in inputs["champion"]


@pytest.mark.acceptance
def test_requirements_are_installed_and_what_they_do_not_list_is_refused(served):
    folder = served.project.path / "pipelines/abalone"
    script, requirements = folder / "evaluate.py", folder / "requirements.txt"
    before = script.read_text()
    script.write_text(before.replace("import sys\n", "import sys\nimport rich\n"))
    try:
        done = served.run("Champion=none")
        assert (done.returncode, "Created/Updated" in done.stdout) == (2, False)
        assert "evaluate.py imports rich, which its container does not have" in done.stderr
        requirements.write_text("rich>=13\n")
        done = served.run("Champion=none")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        name = served.job(done, "EvaluateAbaloneModel")["ProcessingJobName"]
        log = served.project.run("sagemaker-local", "logs", name).stdout
        assert "Requirement already satisfied: rich" in log
        model = served.registered_model(done)
        assert model.extractfile("code/requirements.txt").read() == b"rich>=13\n"
    finally:
        script.write_text(before)
        requirements.unlink(missing_ok=True)


@pytest.mark.acceptance
def test_another_split_seed_is_not_comparable(served, restored):
    served.schema.write_text(served.schema.read_text().replace('"seed": 42', '"seed": 43'))
    assert re.search(
        r"the champion \(version \d+\) is not comparable: it was made under another seed of the"
        r" split \(42; now: 43\), and may have been trained on rows of this test split; give"
        r" Champion=none",
        refusal(served.run()),
    )
    arn = served.registered("Champion=none")
    about = served.client("sagemaker").describe_model_package(ModelPackageName=arn)
    assert about["CustomerMetadataProperties"]["ChampionPackageArn"] == "none"


@pytest.mark.acceptance
def test_a_column_that_is_added_moves_no_row(served, restored, tmp_path):
    before = served.run(CHAMPION)
    schema = json.loads(served.schema.read_text())
    columns = [field["name"] for field in schema["fields"]]
    schema["fields"].insert(0, {"name": "diver", "type": "string"})
    served.schema.write_text(json.dumps(schema))
    rows = (served.project.path / SAMPLE).read_text().splitlines()
    data = tmp_path / "more columns.csv"
    lines = [f"{'ab'[n % 2]},{row}" for n, row in enumerate(rows)]
    data.write_text("\n".join([",".join(["diver", *columns]), *lines]) + "\n")
    after = served.run("ChampionTolerance=0.5", data=data)
    assert "model package" in after.stdout, after.stderr  # the champion could be compared
    moved = [{name: row[name] for name in columns} for row in served.test_split(after)]
    assert moved == served.test_split(before)


@pytest.mark.acceptance
def test_a_better_model_is_registered_and_once_it_serves_it_is_the_champion(served):
    done = served.run()
    assert done.returncode == 0, done.stderr
    better = re.search(r"^model package (\S+)$", done.stdout, re.M)[1]
    assert re.search(
        rf"^gate passed: mse is {MSE}, at most 6 is wanted; a trivial predictor reaches {MSE};"
        rf" the champion \(version 1\) {MSE} on the same rows$",
        done.stdout,
        re.M,
    )
    assert served.run().stdout.count(REUSED) == 3
    alarms = "from sagemaker_project.demo import create_alarms; create_alarms('abalone-prod')"
    created = served.project.run("sagemaker-local", "run", "--", sys.executable, "-c", alarms)
    assert created.returncode == 0, created.stderr
    served.bring_to_prod(better)
    done = served.run()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    again = done.stdout
    reused = re.findall(rf"^(\w+) +Succeeded .* {REUSED}$", again, re.M)
    assert reused == ["PreprocessAbaloneData", "TrainAbaloneModel"]
    version = better.rpartition("/")[2]
    assert re.search(rf"the champion \(version {version}\) ({MSE}) on the same rows", again)
