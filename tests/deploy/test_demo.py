"""`make demo`, but for the installation: the commands of demo.py in a project of their own."""

import os
import re
import shutil
import subprocess
import sys

import pytest

COMMANDS = {
    "run-pipeline": "pipelines.run_pipeline",
    "deploy-model": "deploy.deploy_model",
    "sagemaker-local": "sagemaker_local",
}


@pytest.mark.last
def test_the_demo_goes_from_data_to_a_rollback_in_prod(default_project, tmp_path):
    project = tmp_path / "a project"
    shutil.copytree(default_project, project)
    # Console scripts beside an interpreter, as an installed project has them.
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "python").symlink_to(sys.executable)
    for name, module in COMMANDS.items():
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (scripts / name).chmod(0o755)
    code = f"import sys, demo; sys.executable = {str(scripts / 'python')!r}; demo.main()"
    done = subprocess.run(
        [scripts / "sagemaker-local", "run", "--", sys.executable, "-c", code],
        cwd=project,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(project),
            "SAGEMAKER_LOCAL_SPEED": "240",  # faster still than what people get
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    history = done.stdout.rpartition("What happened to prod")[2]
    happened = re.findall(r"(Started|Promoted|Failed|RolledBack)\b.*?\s(\d+)\s", history)
    assert happened == [
        *(("Started", "1"), ("Promoted", "1"), ("Started", "2"), ("Promoted", "2")),
        *(("Started", "3"), ("Failed", "3"), ("Started", "1"), ("RolledBack", "1")),
    ]
    failed = [int(number) for number in re.findall(r"answered, (\d+) failed", done.stdout)]
    assert failed[0] == 0 and failed[1] > 0
