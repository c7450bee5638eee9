"""The examples of the README, word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
PROGRAM, ATTACHED, TESTS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def python(folder, *words):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_program_of_the_readme_runs(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    run = ("-m", "sagemaker_emulator", "run", "--", sys.executable, "program.py")
    done = python(tmp_path, *run)
    assert (done.returncode, done.stdout) == (0, "churn Completed\n"), done.stderr
    assert "It prints `churn Completed`" in README


def test_a_program_that_attaches(tmp_path):
    (tmp_path / "program.py").write_text(ATTACHED)
    done = python(tmp_path, "program.py")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_fixture_and_the_faults(tmp_path):
    (tmp_path / "test_example.py").write_text(TESTS)
    done = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^2 passed", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("bucket", ["one", "two"])
def test_a_test_with_the_fixture_finds_the_server_and_nothing_of_the_user_s(
    sagemaker_local, bucket
):
    assert "AWS_PROFILE" not in os.environ
    boto3.Session().client("s3").create_bucket(Bucket=bucket)
    assert os.environ["AWS_ENDPOINT_URL"] == sagemaker_local.url
    assert os.environ["AWS_SESSION_TOKEN"] == sagemaker_local.secret


def test_after_the_fixture_the_environment_is_the_user_s_again():
    assert os.environ.get("AWS_SHARED_CREDENTIALS_FILE") != os.devnull
