"""`run-pipeline` and `get-pipeline-definition`: flags, messages and exit codes.

What a user can get wrong ends before anything is started, so these tests need no server.
"""

import json

import pytest
from botocore.loaders import Loader
from sagemaker_project import usage

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
    "kwargs a list": ([*RUN, "--kwargs", "[1]"], "a dict is wanted, a list was given"),
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
    "tags not a list": ([*RUN, "--tags", '{"Key": "a"}'], "wanted is a list"),
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
    "parameter without value": ([*RUN, "--parameters", "Seed"], "NAME=VALUE is wanted"),
    "parameter twice": ([*RUN, "--parameters", "Seed=1", "Seed=2"], "Seed is given twice"),
    "input data empty": ([*RUN, "--input-data", ""], "--input-data '': a CSV file is wanted"),
    "input data missing": ([*RUN, "--input-data", "no.csv"], "'no.csv': a CSV file is wanted"),
    "input data a folder": ([*RUN, "--input-data", "data"], "there is a folder"),
    "input data twice": (
        [*RUN, "--input-data", "README.md", "--parameters", "InputDataUrl=s3://b/k"],
        "both name the data",
    ),
    "unknown flag": ([*RUN, "--locall"], "unrecognized arguments: --locall"),
    "timeout": ([*RUN, "--timeout", "-1"], "--timeout"),
}


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED)
def test_refused_before_anything_is_started(project, arguments, message):
    done = project.run("run-pipeline", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


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
        ("Status", "C", "Status is one of A, B"),
        ("Url", "x" * 1025, "at most 1,024 fit"),
        ("Url", "", "Url is of type String"),
    ],
)
def test_parameters_are_checked_against_the_definition(project, name, value, message):
    done = project.python(
        "import json, sys\n"
        "from sagemaker_project.build.run import UsageError, check_parameters\n"
        "parameters, declared = json.loads(sys.stdin.read())\n"
        "try:\n    check_parameters(parameters, declared)\n"
        "except UsageError as error:\n    print(error)\n",
        input=json.dumps([{name: value}, DECLARED]),
    )
    assert message in done.stdout, done.stderr


def test_get_pipeline_definition_leaves_the_file_alone_when_it_fails(project, tmp_path):
    target = tmp_path / "definition.json"
    target.write_text("as it was")
    done = project.run("get-pipeline-definition", "-n", "pipelines.nothing", "--file-name", target)
    assert done.returncode == 2
    assert target.read_text() == "as it was"
    done = project.run("get-pipeline-definition", "-n", MODULE, "-f", tmp_path / "no/folder.json")
    assert done.returncode == 2
    assert "No such file or directory" in done.stderr


def test_a_missing_profile_is_one_line_in_both_commands(project):
    for command, arguments in (
        ("run-pipeline", [*RUN, "--input-data", "data/abalone-sample.csv"]),
        ("get-pipeline-definition", ["-n", MODULE]),
    ):
        done = project.run(command, *arguments, env={"AWS_PROFILE": "missing"})
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "The config profile (missing) could not be found" in done.stderr


def test_kwargs_are_read_as_json_and_as_a_python_literal(project):
    texts = ['{"region": "eu-west-1"}', "{'region': 'eu-west-1'}"]
    outputs = [
        project.run("get-pipeline-definition", "-n", MODULE, "--kwargs", text).stdout
        for text in texts
    ]
    assert outputs[0] == outputs[1]
    assert "sagemaker-eu-west-1-" in outputs[0]


def test_the_partition_of_every_region_is_botocores():
    partitions = Loader().load_data("partitions")["partitions"]
    regions = {
        region: p["id"] for p in partitions for region in p["regions"] if "global" not in region
    }
    assert len(regions) > 30
    assert {region: usage.partition_of(region) for region in regions} == regions
