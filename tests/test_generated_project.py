"""A generated project's own tests pass: the default one's, and one's with other answers."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.first
OTHER = {
    "project_name": 'Kündigung: "wer geht?"',
    "project_slug": "churn",
    "pipeline_name": "customer_churn",
    "aws_region": "cn-north-1",
    "license": "Proprietary",
}


@pytest.mark.parametrize(
    "answers", [{}, pytest.param(OTHER, marks=pytest.mark.acceptance)], ids=["default", "other"]
)
def test_the_tests_of_a_generated_project_pass(world, answers):
    project = world.program(extra_context=answers).rename(world.root / "a folder")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
