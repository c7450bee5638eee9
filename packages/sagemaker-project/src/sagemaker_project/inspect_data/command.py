"""The command `inspect-data`, which writes the schema.json of a table."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sagemaker_project.cli import run_command
from sagemaker_project.errors import Refused, UsageError
from sagemaker_project.inspect_data import display, sources, tables
from sagemaker_project.inspect_data.findings import Answer, Options, count
from sagemaker_project.tabular.schema import METRICS, PROBLEMS, TYPES, read_schema

PROGRAM = "inspect-data"
EXIT_CODES = (
    "exit codes: 0 schema.json is written; 2 the arguments or the data cannot be used; 3 a doubt is"
    " open, and the best guess is written; or another schema.json is there, and nothing is written"
)
METRIC = re.compile(r"([a-z0-9_]+)(?:=(.+))?")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = _parser().parse_args(argv)
    return run_command(PROGRAM, lambda: _run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM,
        description="Find out what a table is, and write it to schema.json. What is doubtful is"
        " asked on a terminal; elsewhere the best guess is taken, and each doubt is printed with"
        " the flag that settles it.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("data", metavar="DATA", type=Path, help="a CSV (also .gz) or Parquet file, or a folder")
    add("--label", required=True, metavar="COL", help="the column to predict")
    add("--problem", default="", choices=PROBLEMS, help="what kind of prediction it is")
    metrics = ", ".join(dict.fromkeys(name for names in METRICS.values() for name in names))
    text = f"the metric that decides, and its threshold: {metrics}"
    add("--metric", default="", metavar="NAME[=VALUE]", help=text)
    add("--positive", default="", metavar="CLASS", help="the positive one of two classes")
    _add_columns(parser, "--id", "ids", "a column that only tells rows apart")
    _add_columns(parser, "--ignore", "ignored", "a column that is not read")
    text = "rows with the same value here are never in two splits"
    _add_columns(parser, "--group", "group", text)
    add("--time", default="", metavar="COL", help="split by this date, older rows for training")
    text = f"a column's type, which makes it a feature: {', '.join(TYPES)}; date:%%d.%%m.%%Y"
    add("--type", dest="types", action="append", default=[], metavar="COL=TYPE", help=text)
    output = Path("schema.json")
    add("--output", type=Path, default=output, metavar="FILE", help="default: schema.json")
    add("--yes", action="store_true", help="take every best guess, and overwrite the file")
    return parser


def _add_columns(parser: argparse.ArgumentParser, flag: str, dest: str, help: str) -> None:
    """Add an option that may be repeated, once for each column."""
    parser.add_argument(flag, dest=dest, action="append", default=[], metavar="COL", help=help)


def _run(args: argparse.Namespace) -> None:
    options = _options(args)
    _check_output(args.output)
    sample = sources.read_sample(args.data, options.label)
    result = tables.inspect(args.data, sample, options)
    display.print_result(args.data.name, result)
    sys.stdout.flush()
    can_ask = sys.stdin.isatty() and sys.stdout.isatty() and not args.yes
    for note in result.notes:
        print(f"{PROGRAM}: note: {display.doubt_lines(note)}", file=sys.stderr)
    if can_ask and result.doubts:
        result = _settle(args.data, result, options)
    for doubt in result.doubts:
        print(f"{PROGRAM}: doubt: {display.doubt_lines(doubt)}", file=sys.stderr)
    _write(args.output, display.file_text(result.content), args.yes, can_ask)
    if result.doubts and not args.yes:
        raise Refused(
            f"{args.output} has the best guess, with {count(len(result.doubts), 'open doubt')}:"
            " settle each with its flag, or accept all with --yes"
        )


def _settle(data: Path, result: tables.Result, options: Options) -> tables.Result:
    """Ask about each doubt until none is left, and print what came of it."""
    sample, given = result.sample, list[str]()
    while result.doubts:
        answer = display.ask(result.doubts[0])
        given.append(display.flag(answer))
        options = add_answer(options, answer)
        result = tables.inspect(data, sample, options)
    print(f"\nThe same without questions: {' '.join(given)}\n")
    display.print_result(data.name, result)
    return result


def add_answer(options: Options, answer: Answer) -> Options:
    """Return the options with the flag of an answer."""
    if answer.flag == "--type":
        return replace(options, types={**options.types, **_types([answer.value])})
    if answer.flag == "--problem":
        return replace(options, problem=answer.value)
    if answer.flag == "--positive":
        return replace(options, positive=answer.value)
    if answer.flag == "--id":
        return replace(options, ids=(*options.ids, answer.value))
    if answer.flag == "--group":
        return replace(options, group=(*options.group, answer.value))
    return replace(options, ignored=(*options.ignored, answer.value))


def _options(args: argparse.Namespace) -> Options:
    metric, threshold = _metric(args.metric)
    return Options(
        label=args.label.strip(),
        problem=args.problem,
        metric=metric,
        threshold=threshold,
        positive=args.positive,
        ids=tuple(args.ids),
        ignored=tuple(args.ignored),
        group=tuple(args.group),
        time=args.time,
        types=_types(args.types),
    )


def _metric(text: str) -> tuple[str, float | None]:
    found = METRIC.fullmatch(text)
    if not text:
        return "", None
    try:
        if not found:
            raise ValueError
        threshold = float(found[2]) if found[2] else None
        if threshold is not None and abs(threshold) == float("inf"):
            raise ValueError
    except ValueError:
        raise UsageError(f"--metric {text!r}: wanted a name, or NAME=VALUE as auc=0.8") from None
    return found[1], threshold


def _types(listed: Sequence[str]) -> dict[str, tuple[str, str]]:
    found = {}
    for text in listed:
        name, _, about = text.rpartition("=")
        if "=" in text and ":" in text and about.partition(":")[0] not in TYPES:
            name, _, about = text.partition("=")
        type_, _, pattern = about.partition(":")
        if not name or type_ not in TYPES or (pattern and type_ not in ("date", "datetime")):
            wanted = ", ".join(TYPES)
            raise UsageError(
                f"--type {text!r}: wanted COLUMN=TYPE, where a type is one of {wanted};"
                " dates may have a pattern: date:%d.%m.%Y"
            )
        found[name] = (type_, pattern)
    return found


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"--output {path}: is a folder; name the file, {path / 'schema.json'}")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")


def _write(path: Path, text: str, yes: bool, can_ask: bool) -> None:
    """Write schema.json whole or not at all; one that is there only if the user agrees."""
    read_schema(text.encode(), str(path))
    if path.exists() and path.read_bytes() == text.encode():
        print(f"{path} is as it should be")
        return
    if path.exists() and not yes:
        if not can_ask:
            raise Refused(f"{path} exists, and differs: pass --yes to overwrite it, or --output")
        if not display.confirm(f"\nOverwrite {path}?"):
            raise Refused(f"{path} is as it was")
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        file.write(text.encode())
    try:
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        os.unlink(file.name)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    print(f"{path} is written")
