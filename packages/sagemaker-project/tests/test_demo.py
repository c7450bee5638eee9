"""`make demo`, but for the installation."""

import json
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

    def run(*words):
        return subprocess.run(
            [scripts / words[0], *words[1:]],
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

    demo = run("sagemaker-project", "demo")
    assert demo.returncode == 0, demo.stdout[-3000:] + demo.stderr[-3000:]
    history, _, audit = demo.stdout.rpartition("What happened to prod")[2].partition("\n8. ")
    happened = re.findall(r"(Started|Promoted|Failed|RolledBack)\b.*?\s(\d+)\s", history)
    assert happened[::-1] == [
        *(("Started", "1"), ("Promoted", "1"), ("Started", "2"), ("Promoted", "2")),
        *(("Started", "3"), ("Failed", "3"), ("Started", "1"), ("RolledBack", "1")),
    ]
    failed = [int(number) for number in re.findall(r"answered, (\d+) failed", demo.stdout)]
    assert failed[0] == 0 and failed[1] > 0
    assert re.search(r"^verified +prediction made anew +identical ", audit, re.MULTILINE)

    done = run("deploy-model", "audit", "all", "--local", "--stage", "prod", "--json")
    audits = json.loads(done.stdout)["Audits"]
    assert done.returncode == 0, done.stdout
    predictions = {
        one["InferenceId"]: (audit["ModelPackageArn"].rpartition("/")[2], one["Value"])
        for audit in audits
        for one in audit["Predictions"]
        if one["InferenceId"].startswith("demo-")
    }
    assert {value for _, value in predictions.values()} == {"identical"}
    # In the window of each canary two versions answered, and their records are told apart. The
    # third one answers few requests before its alarm, and a fifth of them is captured: maybe none.
    runs = {inference_id.rpartition("-")[0]: set() for inference_id in predictions}
    for inference_id, (version, _) in predictions.items():
        runs[inference_id.rpartition("-")[0]].add(version)
    good, broken = runs.values()
    assert good == {"1", "2"} and {"2"} <= broken <= {"2", "3"}
