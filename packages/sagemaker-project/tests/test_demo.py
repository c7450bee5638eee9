"""`make demo`, but for the installation."""

import os
import re
import subprocess
import sys

import pytest
from deploy_helpers import COMMANDS


@pytest.mark.acceptance
@pytest.mark.first
def test_the_demo_goes_from_data_to_a_rollback_in_prod(make_project, tmp_path):
    project = make_project().path
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, module in COMMANDS.items():
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (scripts / name).chmod(0o755)
    done = subprocess.run(
        [scripts / "sagemaker-project", "demo"],
        cwd=project,
        env={
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(project),
            "SAGEMAKER_LOCAL_SPEED": "240",  # faster still than what people get
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    history = done.stdout.rpartition("What happened to prod")[2]
    happened = re.findall(r"(Started|Promoted|Failed|RolledBack)\b.*?\s(\d+)\s", history)
    assert happened[::-1] == [
        *(("Started", "1"), ("Promoted", "1"), ("Started", "2"), ("Promoted", "2")),
        *(("Started", "3"), ("Failed", "3"), ("Started", "1"), ("RolledBack", "1")),
    ]
    failed = [int(number) for number in re.findall(r"answered, (\d+) failed", done.stdout)]
    assert failed[0] == 0 and failed[1] > 0
