"""A rendered project, how to measure with it, and how to tell what came of it."""

import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

TEMPLATE = Path(__file__).resolve().parents[1]
ROLE = "arn:aws:iam::123456789012:role/service-role/AmazonSageMakerProjectsExecutionRole"
MODULE = "pipelines.abalone.pipeline"
PYTHON = sys.executable


class Table(NamedTuple):
    """A table, and a folder of scripts with its schema.json."""

    data: Path
    scripts: Path


class Bench:
    """A rendered project in a folder of its own, and how to measure."""

    def __init__(self, folder, runs):
        self.folder = folder
        self.runs = runs
        self.generate(folder / "projects")
        self.project = folder / "projects/abalone"
        self.scripts = self.project / "pipelines/abalone"
        self.sample = self.project / "data/abalone-sample.csv"
        self.abalone = Table(self.sample, self.scripts)
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

    @functools.cache  # noqa: B019  (a Bench lives as long as the process)
    def table(self, problem, columns, rows=4_000):
        """Return a made-up table, and scripts whose schema.json inspect-data wrote for it."""
        work = self.folder / f"{problem}-{columns}-{rows}"
        shutil.copytree(self.scripts, work)
        made = self.check([PYTHON, TEMPLATE / "benchmarks/tables.py", problem, rows, columns])
        (work / "table.csv").write_text(made.stdout)
        command = [Path(PYTHON).with_name("inspect-data"), work / "table.csv", "--label", "y"]
        self.check([*command, "--problem", problem, "--yes", "--output", work / "schema.json"])
        return Table(work / "table.csv", work)

    @functools.cache  # noqa: B019
    def trained(self, table):
        """Return a folder with the splits of a table and, in `model`, the model of them."""
        work = Path(tempfile.mkdtemp(dir=self.folder))
        for _ in self.run_scripts(table, work, last="train"):
            pass
        return work

    def run_scripts(self, table, work, last="evaluate"):
        """Yield seconds and MiB of preprocess.py, train.py and evaluate.py, run by hand."""
        for folder in ("train", "validation", "test", "report", "model", "packed", "evaluation"):
            (work / folder).mkdir()
        folders = ("train", "validation", "test", "report")
        yield self.process(
            *(PYTHON, table.scripts / "preprocess.py", "--input-data", table.data),
            *(part for folder in folders for part in (f"--{folder}", work / folder)),
        )
        yield self.process(
            *(PYTHON, table.scripts / "train.py", "--model-dir", work / "model"),
            *("--train", work / "train", "--validation", work / "validation"),
        )
        if last == "evaluate":
            shutil.make_archive(str(work / "packed/model"), "gztar", work / "model")
            yield self.process(
                *(PYTHON, table.scripts / "evaluate.py", "--model", work / "packed"),
                *("--test", work / "test", "--data-report", work / "report"),
                *("--evaluation", work / "evaluation"),
            )

    def in_process(self, table, rows):
        """What in_process.py says of requests of so many rows."""
        script = TEMPLATE / "benchmarks/in_process.py"
        env = {key: value for key, value in self.env.items() if key != "PYTHONPATH"}
        command = [PYTHON, script, self.trained(table), self.runs, rows]
        return json.loads(self.check(command, env=env | {"OMP_NUM_THREADS": "1"}).stdout)

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
