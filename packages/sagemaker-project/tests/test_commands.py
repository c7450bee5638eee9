"""`run-pipeline` and `get-pipeline-definition`: flags, messages and exit codes.

What a user can get wrong ends before anything is started, so these tests need no server, and most
of them call the command in this process.
"""

import json
import os
import sys

import pytest
from botocore.loaders import Loader
from deploy_helpers import project_in
from sagemaker_project import usage
from sagemaker_project.build import run_pipeline
from sagemaker_project.build.driver import convert_struct
from sagemaker_project.build.parameters import check_parameters

ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMakerProjectsExecutionRole"

MODULE = "pipelines.abalone.pipeline"
RUN = ["--module-name", MODULE, "--role-arn", ROLE]


def test_help_is_fast_because_it_imports_neither_boto3_nor_the_sdk(project):
    done = project.python(
        "import sys\n"
        "from pipelines.run_pipeline import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'boto3', 'botocore', 'sagemaker', 'rich', 'moto'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr
    for flag in ("-n", "-kwargs", "-role-arn", "-description", "-tags", "--local", "--input-data"):
        assert flag in done.stdout


@pytest.mark.parametrize("command", ["run-pipeline", "get-pipeline-definition"])
def test_without_a_module_the_help_is_printed_and_the_exit_code_is_2(project, command):
    done = project.run(command)
    assert done.returncode == 2
    assert done.stdout.startswith(f"usage: {command}")


REFUSED = {
    "module outside pipelines": (
        ["-n", "os", "-role-arn", ROLE],
        "'os' is not a module of the package pipelines",
    ),
    "relative module": (["-n", ".abalone.pipeline", "-role-arn", ROLE], "is not a module"),
    "missing module": (
        ["-n", "pipelines.abalonee.pipeline", "-role-arn", ROLE],
        "no module pipelines.abalonee.pipeline",
    ),
    "module without get_pipeline": (
        ["-n", "pipelines._utils", "-role-arn", ROLE],
        "pipelines._utils has no function get_pipeline()",
    ),
    "role name only": (["-n", MODULE, "-role-arn", "MyRole"], "not the ARN of an IAM role"),
    "user arn": (["-n", MODULE, "-role-arn", "arn:aws:iam::123456789012:user/me"], "an IAM role"),
    "short account": (["-n", MODULE, "-role-arn", "arn:aws:iam::12345678901:role/me"], "IAM role"),
    "role of another partition": (
        ["-n", MODULE, "-role-arn", ROLE.replace("arn:aws:", "arn:aws-cn:")],
        "is a role of aws-cn, but us-east-1 is a region of aws",
    ),
    "role of another partition than the region's": (
        [*RUN, "--kwargs", '{"region": "cn-north-1"}'],
        "a role of aws, but cn-north-1 is a region of aws-cn: give a role that begins with arn:",
    ),
    "trailing space": (["-n", MODULE, "-role-arn", ROLE + " "], "not the ARN of an IAM role"),
    "kwargs neither JSON nor Python": ([*RUN, "--kwargs", "{region: x}"], "line 1 column 2"),
    "kwargs a list": ([*RUN, "--kwargs", "[1]"], "expected a dict, found a list"),
    "kwargs key twice": ([*RUN, "--kwargs", '{"region": "", "region": ""}'], "is duplicated"),
    "kwargs Python key twice": (
        [*RUN, "--kwargs", "{'region': 'a', 'region': 'b'}"],
        "is duplicated",
    ),
    "kwargs unknown": ([*RUN, "--kwargs", '{"regoin": "a"}'], "Did you mean region?"),
    "kwargs role name only": ([*RUN, "--kwargs", '{"role": "MyRole"}'], "--kwargs: role: 'MyRole'"),
    "kwargs unknown region": (
        [*RUN, "--kwargs", '{"region": "us-est-1"}'],
        "has no SageMaker. Did you mean us-",
    ),
    "kwargs no region": ([*RUN, "--kwargs", '{"region": ""}'], "'' has no SageMaker"),
    "kwargs bucket": ([*RUN, "--kwargs", '{"default_bucket": "s3://My_Bucket"}'], "of a bucket"),
    "kwargs bucket like an IP": ([*RUN, "--kwargs", '{"default_bucket": "10.0.0.1"}'], "a bucket"),
    "kwargs too deep": ([*RUN, "--kwargs", "[" * 90_000], "nested too deeply"),
    "kwargs role no text": ([*RUN, "--kwargs", '{"role": true}'], "--kwargs: role: True is not"),
    "kwargs bucket a number": ([*RUN, "--kwargs", "{'default_bucket': 5}"], "default_bucket: 5 is"),
    "kwargs name": (
        [*RUN, "--kwargs", '{"pipeline_name": "bad name"}'],
        "pipeline_name: 'bad name'",
    ),
    "kwargs wrong type": ([*RUN, "--kwargs", '{"region": 1}'], "region is a string, 1 was given"),
    "kwargs too long": ([*RUN, "--kwargs", '{"region": "' + "x" * 110_000 + '"}'], "too many"),
    "kwargs code": ([*RUN, "--kwargs", "{'a': __import__('os')}"], "nor a Python literal"),
    "tags not a list": ([*RUN, "--tags", '{"Key": "a"}'], "expected a list such as"),
    "tags reserved": ([*RUN, "--tags", '[{"Key": "aws:x", "Value": ""}]'], "reserved by AWS"),
    "tags twice": (
        [*RUN, "--tags", '[{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]'],
        "the Key 'a' is duplicated",
    ),
    "tags not text": ([*RUN, "--tags", '[{"Key": "a", "Value": 1}]'], "Key and Value are strings"),
    "tags key too long": ([*RUN, "--tags", f'[{{"Key": "{"k" * 129}", "Value": ""}}]'], "1-128"),
    "tags too many": (
        [*RUN, "--tags", json.dumps([{"Key": str(i), "Value": ""} for i in range(51)])],
        "51 tags were given",
    ),
    "parameter without value": ([*RUN, "--parameters", "Seed"], "expected NAME=VALUE"),
    "parameter twice": ([*RUN, "--parameters", "Seed=1", "Seed=2"], "Seed is given twice"),
    "input data empty": (
        [*RUN, "--input-data", ""],
        "--input-data '': there is no such file or folder",
    ),
    "input data missing": (
        [*RUN, "--input-data", "no.csv"],
        "--input-data 'no.csv': there is no such file or folder",
    ),
    "input data a folder of other files": (
        [*RUN, "--input-data", "data"],
        "data: found README.md, make_sample.py beside 1 csv files",
    ),
    "input data twice": (
        [*RUN, "--input-data", "README.md", "--parameters", "InputDataUrl=s3://b/k"],
        "both name the data",
    ),
    "unknown flag": ([*RUN, "--locall"], "unrecognized arguments: --locall"),
    "timeout": ([*RUN, "--timeout", "-1"], "--timeout"),
}


@pytest.fixture
def in_project(project, monkeypatch):
    """The project is the working folder, its package is importable, and AWS is not configured."""

    def forget():
        names = [name for name in sys.modules if name.partition(".")[0] == "pipelines"]
        return {name: sys.modules.pop(name) for name in names}

    monkeypatch.chdir(project.path)
    monkeypatch.syspath_prepend(project.path)
    monkeypatch.setattr(usage, "quiet_sdk", lambda: None)  # it is for the rest of a process
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    others = forget()  # other tests import this package of another project
    yield
    forget()
    sys.modules.update(others)


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED)
def test_refused_before_anything_is_started(in_project, project, capsys, arguments, message):
    """Rows 6, 7, 9, 13 to 15 and 17 of the bad inputs."""
    try:
        code = run_pipeline.main(project_in(project.path), arguments)
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    assert code == 2
    assert message in printed.err.splitlines()[-1]
    assert printed.out == ""


def test_a_refusal_is_one_line_and_the_exit_code_of_the_process(project):
    done = project.run("run-pipeline", "-n", "os", "-role-arn", ROLE)
    assert done.returncode == 2
    assert done.stderr.startswith("run-pipeline: --module-name: 'os' is not a module")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


DECLARED = {
    "Seed": {"Name": "Seed", "Type": "Integer", "DefaultValue": 42},
    "MseThreshold": {"Name": "MseThreshold", "Type": "Float", "DefaultValue": 6.0},
    "Status": {"Name": "Status", "Type": "String", "EnumValues": ["A", "B"], "DefaultValue": "A"},
    "Url": {"Name": "Url", "Type": "String", "DefaultValue": "s3://b/k"},
}


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("Sead", "1", "Did you mean Seed?"),
        ("Seed", "1.5", "Seed is of type Integer"),
        ("MseThreshold", "NaN", "MseThreshold is of type Float"),
        ("MseThreshold", "low", "MseThreshold is of type Float"),
        ("MseThreshold", "1_0", "MseThreshold is of type Float"),
        ("MseThreshold", "\uff16", "MseThreshold is of type Float"),
        ("MseThreshold", "1e999", "MseThreshold is of type Float"),
        ("Status", "C", "Status is one of A, B"),
        ("Url", "x" * 1025, "at most 1,024 fit"),
        ("Url", "", "Url is of type String"),
    ],
)
def test_parameters_are_checked_against_the_definition(name, value, message):
    """Row 16 of the bad inputs."""
    with pytest.raises(usage.UsageError) as refused:
        check_parameters({name: value}, DECLARED)
    assert message in str(refused.value)


def test_parameters_that_fit_are_accepted_and_a_missing_one_is_named():
    given = {"Seed": "+7", "MseThreshold": "5", "Status": "B", "Url": "x" * 1024}
    check_parameters(given, DECLARED)
    check_parameters({}, DECLARED)
    with pytest.raises(usage.UsageError, match="a value is needed for Name"):
        check_parameters(given, DECLARED | {"Name": {"Name": "Name", "Type": "String"}})


@pytest.mark.acceptance
def test_get_pipeline_definition_leaves_the_file_alone_when_it_fails(project, tmp_path):
    target = tmp_path / "definition.json"
    target.write_text("as it was")
    done = project.run("get-pipeline-definition", "-n", "pipelines.nothing", "--file-name", target)
    assert done.returncode == 2
    assert target.read_text() == "as it was"
    done = project.run("get-pipeline-definition", "-n", MODULE, "-f", tmp_path / "no/folder.json")
    assert done.returncode == 2
    assert "No such file or directory" in done.stderr


@pytest.mark.acceptance
def test_a_missing_profile_is_one_line_in_both_commands(project):
    for command, arguments in (
        ("run-pipeline", [*RUN, "--input-data", "data/abalone-sample.csv"]),
        ("get-pipeline-definition", ["-n", MODULE]),
    ):
        done = project.run(command, *arguments, env={"AWS_PROFILE": "missing"})
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "The config profile (missing) could not be found" in done.stderr


@pytest.mark.parametrize("text", ['{"a": [1, true]}', "{'a': [1, True]}", " {'a': [1, True,]}"])
def test_kwargs_are_read_as_json_and_as_a_python_literal(text):
    assert convert_struct(text) == {"a": [1, True]}


def test_the_partition_of_every_region_is_botocores():
    partitions = Loader().load_data("partitions")["partitions"]
    regions = {
        region: p["id"] for p in partitions for region in p["regions"] if "global" not in region
    }
    assert len(regions) > 30
    assert {region: usage.partition_of(region) for region in regions} == regions
