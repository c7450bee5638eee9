"""Ratios, measured side by side in one run: `make bench`, or `make bench ONLY=help,generation`.

Each benchmark runs two things in turn, A B A B, and reports the median of the ratios pair by pair,
so a machine whose speed drifts disturbs both alike. Times are of whole processes; peak memory is
that of the largest process. Nothing here passes or fails: the targets are printed beside what was
measured.

    measure.py      a rendered project, and how to measure with it
    endpoint.py     the local endpoint under load, against other servers of the same model
    capture.py      the local endpoint with and without data capture
    deploying.py    deploy-model
    local.py        a running emulator
    load.py, in_process.py, quality.py, container_app.py, idle_app.py, tables.py
                    processes of their own

The endpoint benchmark compares with servers that are not part of this project, if BENCH_PEERS
names the Python of an environment that has them; it prints how to make one. The quality benchmark
wants the UCI Abalone file and xgboost:
`ABALONE_CSV=path make bench ONLY=quality` after `.venv/bin/pip install xgboost-cpu`.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import capture
import deploying
import endpoint
from measure import MODULE, PYTHON, ROLE, TEMPLATE, Bench, Table, as_time, report

PROBLEMS = ("regression", "binary", "multiclass")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"some of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--runs", type=int, default=5, help="counted pairs (default: 5)")
    args = parser.parse_args(argv)
    chosen = [name for name in args.only.split(",") if name] or list(BENCHMARKS)
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(f"{'benchmark':<44} {'ratio':>8} {'target':>9}   medians")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.runs)
        for name in chosen:
            BENCHMARKS[name](bench)
    return 0


def run_local(bench):
    """`run-pipeline --local`, from nothing, against the same work by hand."""

    def local():
        state = bench.project / ".sagemaker_local"
        shutil.rmtree(state, ignore_errors=True)
        command = ["-m", "pipelines.run_pipeline", "--local", "-n", MODULE, "-role-arn", ROLE]
        return bench.process(PYTHON, *command, "--input-data", bench.sample, cwd=bench.project)[0]

    def by_hand():
        seconds = bench.process(
            PYTHON, "-m", "pipelines.get_pipeline_definition", "-n", MODULE, cwd=bench.project
        )[0]
        with tempfile.TemporaryDirectory(dir=bench.folder) as work:
            taken = sum(taken for taken, _ in bench.run_scripts(bench.abalone, Path(work)))
        return seconds + taken

    bench.pairs("local run / definition and scripts by hand", "<= 1.15", local, by_hand)


def help_start(bench):
    bench.pairs(
        "run-pipeline --help / bare interpreter",
        "<= 3",
        lambda: bench.process(
            PYTHON, "-c", "from pipelines.run_pipeline import main; main(['--help'])"
        )[0],
        lambda: bench.process(PYTHON, "-c", "")[0],
    )


def generation(bench):
    one_file = bench.folder / "one-file"
    (one_file / "{{cookiecutter.slug}}").mkdir(parents=True)
    (one_file / "cookiecutter.json").write_text('{"slug": "one"}')
    (one_file / "{{cookiecutter.slug}}/README.md").write_text("{{cookiecutter.slug}}\n")

    def generate(template):
        with tempfile.TemporaryDirectory(dir=bench.folder) as output:
            started = time.perf_counter()
            bench.generate(output, template)
            return time.perf_counter() - started

    bench.pairs(
        "generation / a template of one file",
        "<= 2.0",
        lambda: generate(TEMPLATE),
        lambda: generate(one_file),
    )


def one_row(bench):
    """In-process: one CSV row through inference.py against the Pipeline on a one-row frame."""
    tables = {"abalone": bench.abalone}
    tables |= {problem: bench.table(problem, 12) for problem in PROBLEMS}
    for name, table in tables.items():
        answer = bench.in_process(table, rows=1)
        report(
            f"one row through inference.py / Pipeline, {name}",
            answer["ratio"],
            "<= 0.05",
            f"{as_time(answer['inference'])} / {as_time(answer['predict'])},"
            f" {answer['equal']} of {answer['requests']} answers identical",
        )


def rows(bench):
    """In-process: requests of 100 rows, which need not be fast but never slower."""
    for columns in endpoint.COLUMNS:
        for problem in PROBLEMS:
            answer = bench.in_process(bench.table(problem, columns), rows=100)
            report(
                f"100 rows / Pipeline, {problem}, {columns} columns",
                answer["ratio"],
                "<= 1",
                f"{as_time(answer['inference'])} / {as_time(answer['predict'])},"
                f" {answer['equal']} of {answer['requests']} answers identical",
            )


def abalone_quality(bench):
    data = os.environ.get("ABALONE_CSV")
    if not data:
        print(f"{'model quality / seed settings of XGBoost':<44} skipped: ABALONE_CSV is not set")
        return
    answer = _quality(bench, "abalone", bench.scripts / "schema.json", data)
    report(
        "test mse / seed settings of XGBoost, 30 splits",
        answer["ratio"],
        "<= 0.96",
        f"mse {answer['ours']:.2f} / {answer['theirs']:.2f}",
    )


def auc(bench):
    """Tables with classes, made up and those that scikit-learn brings along."""
    for name in ("binary", "multiclass", "breast_cancer", "digits"):
        answer = _quality(bench, "auc", name)
        report(
            f"test AUC / HistGradientBoosting's, {name}",
            answer["ratio"],
            ">= 0.98",
            f"{answer['ours']:.4f} / {answer['theirs']:.4f}, 20 splits",
        )


def _quality(bench, *arguments):
    done = bench.check([PYTHON, TEMPLATE / "benchmarks/quality.py", *arguments], env=bench.env)
    return json.loads(done.stdout)


def preprocess(bench):
    """A large table through preprocess.py, and read and written by pandas."""
    table = bench.table("regression", 59, 200_000)
    arrays = 200_000 * 60 * 8 / 2**20
    peaks = []

    def ours():
        with tempfile.TemporaryDirectory(dir=bench.folder) as work:
            seconds, peak = next(bench.run_scripts(table, Path(work), last="train"))
        peaks.append(peak)
        return seconds

    copy = (
        f"import pandas; pandas.read_csv({str(table.data)!r}).to_csv({os.devnull!r}, index=False)"
    )
    bench.pairs(
        "preprocess of 200,000 x 60 / pandas read + write",
        "<= 1.5",
        ours,
        lambda: bench.process(PYTHON, "-c", copy)[0],
    )
    peak = max(peaks)
    report("its peak memory / the arrays", peak / arrays, "<= 4", f"{peak:.0f} / {arrays:.0f} MiB")


def scale(bench):
    """Each script at 1, 10 and 100 times the rows: growth of time and memory per growth of rows."""
    base = None
    for factor in (1, 10, 100):
        data = bench.folder / f"rows-{factor}.csv"
        rows = 4_177 * factor
        made = bench.check([PYTHON, bench.project / "data/make_sample.py", rows], env=bench.env)
        data.write_text(made.stdout)
        with tempfile.TemporaryDirectory(dir=bench.folder) as work:
            figures = list(bench.run_scripts(Table(data, bench.scripts), Path(work)))
        base = base or figures
        for name, (seconds, mib), (seconds_1, mib_1) in zip(
            ("preprocess", "train", "evaluate"), figures, base, strict=True
        ):
            report(
                f"{name} at {rows:,} rows / at 4,177 rows",
                seconds / seconds_1,
                f"<= {factor}",
                f"{as_time(seconds)}, {mib:.0f} MiB ({mib / mib_1:.2f}x)",
            )


BENCHMARKS = {
    "local": run_local,
    "help": help_start,
    "generation": generation,
    "row": one_row,
    "rows": rows,
    "quality": abalone_quality,
    "auc": auc,
    "preprocess": preprocess,
    "scale": scale,
    "endpoint": endpoint.endpoint,
    "capture": capture.capture,
    "promote": deploying.promote,
    "packages": deploying.packages,
    "status": deploying.status,
}

if __name__ == "__main__":
    sys.exit(main())
