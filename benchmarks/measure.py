"""A rendered project, how to measure with it, and how to tell what came of it."""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1]
ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMakerProjectsExecutionRole"
MODULE = "pipelines.abalone.pipeline"
PYTHON = sys.executable


class Bench:
    """A rendered project in a folder of its own, and how to measure."""

    def __init__(self, folder, runs):
        self.folder = folder
        self.runs = runs
        self.generate(folder / "projects")
        self.project = folder / "projects/abalone"
        self.scripts = self.project / "pipelines/abalone"
        self.sample = self.project / "data/abalone-sample.csv"
        # Compiled code is what a user has from the second run on.
        self.env = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
        self.env["PYTHONPATH"] = str(self.project)

    def generate(self, output, template=TEMPLATE):
        command = [PYTHON, "-m", "cookiecutter", template, "--no-input", "--default-config"]
        self.check([*command, "-o", output])

    def check(self, command, **options):
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, **options
        )
        if done.returncode:
            sys.exit(f"bench: {command}: exit {done.returncode}\n{done.stderr[-2000:]}")
        return done

    def process(self, *command, cwd=None):
        """Wall seconds and peak MiB of `command` and its children."""
        started = time.perf_counter()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                list(map(str, command)), cwd=cwd, env=self.env, stdout=output, stderr=output
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - started
            if process.returncode:
                output.seek(0)
                sys.exit(f"bench: {command}: {output.read().decode()[-2000:]}")
        return seconds, usage.ru_maxrss / (1 if sys.platform == "darwin" else 1 << 10)

    @functools.cached_property
    def trained(self):
        """A folder with the sample's splits and, in `model`, the model trained on it."""
        work = self.folder / "trained"
        folders = ("train", "validation", "test", "report")
        for folder in (*folders, "model"):
            (work / folder).mkdir(parents=True)
        self.process(
            *(PYTHON, self.scripts / "preprocess.py", "--input-data", self.sample),
            *(part for folder in folders for part in (f"--{folder}", work / folder)),
        )
        self.process(
            *(PYTHON, self.scripts / "train.py", "--model-dir", work / "model"),
            *("--train", work / "train", "--validation", work / "validation"),
        )
        return work

    def in_process(self, rows):
        """What in_process.py says of requests of so many rows."""
        script = TEMPLATE / "benchmarks/in_process.py"
        env = self.env | {"OMP_NUM_THREADS": "1"}
        done = self.check([PYTHON, script, self.trained, self.runs, rows], env=env)
        return json.loads(done.stdout)

    def pairs(self, label, target, a, b):
        """Report median(a/b) over pairs of calls that each return seconds."""
        a(), b()
        taken = [(a(), b()) for _ in range(self.runs)]
        ratio = statistics.median(first / second for first, second in taken)
        first, second = (statistics.median(column) for column in zip(*taken, strict=True))
        report(label, ratio, target, f"{as_time(first)} / {as_time(second)}")


def report(label, ratio, target, detail):
    print(f"{label:<44} {ratio:>8.3f} {target:>9}   {detail}", flush=True)


def as_time(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
