"""The pipeline definition: the same bytes for the same sources, and what AWS would accept.

The golden file is the default project's definition, but for the hashes of the code, which change
with every edit of it. With `--update-golden` (CONTRIBUTING.md has the command) it is written anew;
then read the diff.
"""

import json
import re

import boto3
import pytest
from botocore.validate import ParamValidator

ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMakerProjectsExecutionRole"

MODULE = "pipelines.abalone.pipeline"


REGIONS = {
    "eu-central-1": "492215442770.dkr.ecr.eu-central-1.amazonaws.com",
    "cn-north-1": "450853457545.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "us-gov-west-1": "414596584902.dkr.ecr.us-gov-west-1.amazonaws.com",
}


def definition_of(project, **kwargs):
    done = project.run("get-pipeline-definition", "-n", MODULE, "-kwargs", json.dumps(kwargs))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def definition_text(project):
    return definition_of(project)


@pytest.fixture(scope="module")
def variants(project):
    """Definitions with other arguments, all of one process: the SDK takes long to import."""
    kwargs = {region: {"region": region} for region in REGIONS} | {"role": {"role": ROLE}}
    done = project.python(
        "import json, sys\n"
        "from sagemaker_project.build.get_pipeline_definition import get_definition\n"
        f"made = {{name: get_definition({MODULE!r}, kwargs)\n"
        "        for name, kwargs in json.load(sys.stdin).items()}\n"
        "from pipelines.abalone.pipeline import get_pipeline\n"
        "try:\n    get_pipeline().create()\n"
        "except ValueError as error:\n    made['created without a role'] = str(error)\n"
        "print(json.dumps(made))",
        input=json.dumps(kwargs),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_definition_is_the_golden_one(definition_text, golden):
    golden("definition.json", re.sub(r"/code/[0-9a-f]{64}", "/code/SHA256", definition_text))


@pytest.mark.acceptance
def test_another_copy_gives_the_same_bytes_and_a_changed_script_changes_its_hash_only(
    make_project, definition_text, tmp_path
):
    project = make_project()
    done = project.run("get-pipeline-definition", "-n", MODULE, "-f", tmp_path / "definition.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "definition.json").read_text() == definition_text

    script = project.path / "pipelines/abalone/evaluate.py"
    script.write_text(script.read_text() + "\n# changed\n")
    lines = zip(definition_text.splitlines(), definition_of(project).splitlines(), strict=True)
    changed = [(old, new) for old, new in lines if old != new]
    assert len(changed) == 1
    old, new = (re.sub(r"[0-9a-f]{64}", "SHA256", line) for line in changed[0])
    assert old == new and old.strip().startswith('"S3Uri": "s3://') and "/code/SHA256" in old


@pytest.mark.parametrize("region", REGIONS)
def test_region_reaches_image_and_bucket(variants, region):
    text = variants[region]
    assert f"{REGIONS[region]}/sagemaker-scikit-learn:1.9-0" in text
    assert "us-east-1" not in text


def test_arguments_of_every_step_fit_the_service_model(variants):
    """AWS's own shapes: botocore refuses unknown, missing and mistyped members."""
    definition = json.loads(variants["role"])
    model = boto3.Session(region_name="us-east-1").client("sagemaker").meta.service_model
    defaults = {entry["Name"]: entry["DefaultValue"] for entry in definition["Parameters"]}
    operations = {
        "Processing": ("CreateProcessingJob", {"ProcessingJobName": "job"}),
        "Training": ("CreateTrainingJob", {"TrainingJobName": "job"}),
        "RegisterModel": ("CreateModelPackage", {}),
    }
    checked = []
    for step in steps_of(definition):
        if step["Type"] in operations:
            operation, added_by_pipelines = operations[step["Type"]]
            arguments = {**resolved(step["Arguments"], defaults), **added_by_pipelines}
            shape = model.operation_model(operation).input_shape
            report = ParamValidator().validate(arguments, shape)
            assert not report.has_errors(), (step["Name"], report.generate_report())
            checked.append(step["Type"])
    assert checked == ["Processing", "Training", "Processing", "RegisterModel"]


def test_names_and_numbers_are_within_the_limits_of_pipelines(variants):
    definition = json.loads(variants["role"])
    assert len(variants["role"]) < 100 * 1024  # from there on the SDK goes via S3
    for step in steps_of(definition):
        assert re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", step["Name"])
        for policy in step.get("RetryPolicies", []):
            assert ("MaxAttempts" in policy) != ("ExpireAfterMin" in policy)
            assert policy["IntervalSeconds"] <= 43_200
    cached = {step["Name"] for step in steps_of(definition) if "CacheConfig" in step}
    assert cached == {"PreprocessAbaloneData", "TrainAbaloneModel", "EvaluateAbaloneModel"}


def test_requirements_txt_is_carried_to_every_step_and_installed(make_project):
    project = make_project()
    plain = json.loads(definition_of(project))
    (project.path / "pipelines/abalone/requirements.txt").write_text("rich>=13\n")
    listed = json.loads(definition_of(project))
    for before, after in zip(plain["Steps"][:3], listed["Steps"][:3], strict=True):
        assert before["Arguments"] != after["Arguments"]
    [preprocess, evaluate] = [s["Arguments"] for s in listed["Steps"] if s["Type"] == "Processing"]
    shell, option, words, script = evaluate["AppSpecification"]["ContainerEntrypoint"]
    assert (shell, option) == ("sh", "-c")
    assert script == "/opt/ml/processing/input/code/evaluate.py"
    assert "pip install" in words and words.endswith('&& exec python3 "$0" "$@"')
    assert preprocess["AppSpecification"]["ContainerEntrypoint"][2] == words


def test_a_definition_without_a_role_cannot_be_created(variants):
    assert "get_pipeline() was called without a role" in variants["created without a role"]


def steps_of(definition):
    for step in definition["Steps"]:
        yield step
        for branch in ("IfSteps", "ElseSteps"):
            yield from step["Arguments"].get(branch, [])


def resolved(value, defaults):
    """`value` with parameters at their defaults, and text where the execution writes text."""
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            return defaults.get(value["Get"].removeprefix("Parameters."), "s3://bucket/key")
        if "Std:Join" in value or "Std:JsonGet" in value:
            return "s3://bucket/key"
        return {key: resolved(inner, defaults) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, defaults) for inner in value]
    return value
