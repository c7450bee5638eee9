"""A generated project with another table: its repository, and its commands as people type them."""

import os
import subprocess
import sys
from pathlib import Path

import tables
from deploy_helpers import COMMANDS

SCHEMA = "pipelines/abalone/schema.json"
ROLE = "arn:aws:iam::123456789012:role/local"
TEN = {make.__name__: (make,) for make in tables.TABLES}


class Repository:
    """A generated project, and its commands as people type them."""

    def __init__(self, path, scripts):
        self.path, self.scripts = path, scripts
        scripts.mkdir()
        for name, module in COMMANDS.items():
            (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            (scripts / name).chmod(0o755)
        inspect = Path(sys.executable).with_name("inspect-data")
        (scripts / "inspect-data").symlink_to(inspect)
        self.env = {
            **{"HOME": str(scripts), "PYTHONPATH": str(path)},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "MODEL_EXECUTION_ROLE_ARN": ROLE,
            "SAGEMAKER_LOCAL_SPEED": "600",
            # Threads of a training that wait for each other spin, where others want the CPU too.
            "OMP_NUM_THREADS": "1",
        }

    def run(self, command, *words):
        """Run a command, which must succeed; return its stdout."""
        done = subprocess.run(
            [str(self.scripts / command) if command in os.listdir(self.scripts) else command]
            + [str(word) for word in words],
            cwd=self.path,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def git(self, *words):
        return self.run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words)

    def take(self, made):
        """Write and commit the schema.json of a table."""
        words = ["--label", made.label, "--yes", "--output", SCHEMA]
        self.run("inspect-data", made.data, *words)
        self.git("commit", "--quiet", "--all", "--message", "Describe my table")

    def deploy(self, command, *words):
        return self.run("deploy-model", command, "--local", *words)
