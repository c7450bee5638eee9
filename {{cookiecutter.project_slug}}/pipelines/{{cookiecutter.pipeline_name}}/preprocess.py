"""Check one CSV file of raw records, clean it, and split it into train, validation and test.

The schema below is the only place that names the columns. To use other data, change it: the later
steps take names and kinds from train/schema.json, which is written here.

The file is read once, as a stream, with the strict reader of the standard library, so that every
error can name a line and nothing is guessed: a data frame reader would silently shift columns,
rename duplicates or turn 1e400 into infinity. Values go straight into flat arrays of 8 bytes each,
so memory grows with the number of values and not with the length of the text.

A mistake in the file as a whole (format, columns, width of a line, text among numbers) is refused,
and nothing is written. A row outside of a column's range is dropped, and a suspicious value is
kept; both are counted, with examples, in report/data_report.json.

A row's split follows from a hash of its values and the seed, not from its position: the same rows
in another order get the same splits, and copies of a row always stay together. Rows are sorted by
label and cut into blocks of 20, of which 14 go to train, 3 to validation and 3 to test, so that the
three splits have nearly the same distribution of the label.

It is one file, although a long one, so that SCHEMA is beside all code that depends on it.

Exit codes: 0 done, 1 the machine failed (disk, permission), 2 the input or the arguments are wrong.
"""

import argparse
import contextlib
import csv
import hashlib
import itertools
import json
import math
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

NO_VALUE = frozenset({"", "?", "na", "n/a", "nan", "none", "null"})


class Column(NamedTuple):
    """A column: numeric unless it is categorical. Text in `missing` (lower case) means no value."""

    name: str
    categorical: bool = False
    values: tuple = ()  # categories to expect; others are kept, with a warning
    minimum: float = -math.inf  # a row with a value outside is dropped
    maximum: float = math.inf
    zero_is_odd: bool = False
    missing: frozenset = NO_VALUE


SCHEMA = (
    Column("sex", categorical=True, values=("F", "I", "M")),
    Column("length", minimum=0, zero_is_odd=True),
    Column("diameter", minimum=0, zero_is_odd=True),
    Column("height", minimum=0, zero_is_odd=True),
    Column("whole_weight", minimum=0, zero_is_odd=True),
    Column("shucked_weight", minimum=0, zero_is_odd=True),
    Column("viscera_weight", minimum=0, zero_is_odd=True),
    Column("shell_weight", minimum=0, zero_is_odd=True),
    Column("rings", minimum=1),
)
LABEL = "rings"

SPLITS = {"train": 14, "validation": 3, "test": 3}  # rows of each block of 20
MIN_ROWS = 20
MAX_BYTES = 2 * 1024**3  # 2 GiB of text need about 8 GB of memory
MAX_FIELD = 64 * 1024**2
CHUNK = 50_000
EXAMPLES = 5
MAX_MESSAGE = 1024  # bytes of an ExitMessage


class BadInput(Exception):
    """A mistake in the input. The message is one line."""


class Table(NamedTuple):
    """Columns of floats or strings by name, and the line number of each row in the file."""

    columns: dict
    lines: np.ndarray

    def take(self, rows):
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(columns, self.lines[rows])


# Reading


def find_file(source):
    """Return the file itself, or the only CSV of a folder (an S3 prefix may hold other files)."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise BadInput(f"{source}: there is no such file or folder; give --input-data a CSV file")
    files = sorted(p for p in source.iterdir() if p.is_file() and not p.name.startswith("."))
    found = [p for p in files if p.suffix.lower() == ".csv"] or files
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:5]) or "nothing"
        raise BadInput(f"{source}: expected exactly one CSV file, found {len(found)} ({names})")
    return found[0]


def check_format(path):
    """Refuse a file whose size or first bytes show that it is not CSV in UTF-8."""
    size = path.stat().st_size
    if size == 0:
        raise BadInput("the file is empty (0 bytes)")
    if size > MAX_BYTES:
        raise BadInput(
            f"{size:,} bytes; at most {MAX_BYTES:,} are read: sample it, or raise MAX_BYTES"
        )
    with path.open("rb") as file:
        start = file.read(4096)
    signatures = {
        b"\x1f\x8b": "gzip; unpack it first",
        b"PAR1": "Parquet; export it as CSV",
        b"PK\x03\x04": "a zip archive or an Excel workbook; export it as CSV",
        b"\xff\xfe": "UTF-16 text; save it as UTF-8",
        b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    }
    for signature, meaning in signatures.items():
        if start.startswith(signature):
            raise BadInput(f"not a CSV file in UTF-8 but {meaning}")
    if b"\0" in start:
        raise BadInput(
            "not a CSV file in UTF-8: it has NUL bytes (UTF-16 or binary); save it as UTF-8"
        )


def sha256_of(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def records(path):
    """Yield (line, fields) of each record that is not blank; the record begins on that line."""
    csv.field_size_limit(MAX_FIELD)
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            for fields in reader:
                if len(fields) > 1 or (fields and fields[0].strip()):
                    yield line, fields
                line = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(
            f"line {line}: {error}; a quoted field there is not closed, or holds a stray quote"
        ) from None
    except UnicodeDecodeError:
        line, byte = undecodable(path)
        raise BadInput(
            f"line {line}: byte 0x{byte:02x} is not UTF-8 (Latin-1 perhaps); save the file as UTF-8"
        ) from None


def undecodable(path):
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return number, line[error.start]


def layout(line, first):
    """Return what the first record says about the file.

    Returns:
        Whether it is a header, the number of fields of a record, the position of each column of
        SCHEMA, and the names of other columns.
    """
    names = [plain(column.name) for column in SCHEMA]
    cells = [plain(cell) for cell in first]
    if cells[-1] == "":
        cells.pop()  # a trailing comma
    if len(cells) == 1 < len(names):
        marks = {";": "semicolons", "\t": "tabs", "|": "bars"}
        found = [word for mark, word in marks.items() if mark in first[0]]
        hint = f"; the fields seem separated by {found[0]}: use commas" if found else ""
        raise BadInput(f"line {line}: 1 column found, expected {len(names)}{hint}")
    if set(cells) & set(names) and not any(map(is_number, cells)):
        for name in names:
            if (count := cells.count(name)) != 1:
                raise BadInput(
                    f"line {line}: the header has column {name!r} {count} times; "
                    f"it must have each of {','.join(names)} once"
                )
        extra = [cell for cell in cells if cell not in names]
        return True, len(cells), [cells.index(name) for name in names], extra
    if len(cells) != len(names):
        raise BadInput(
            f"line {line}: {len(cells)} columns found, expected {len(names)}: {','.join(names)}"
        )
    if not any(map(is_number, cells)):
        raise BadInput(
            f"line {line}: neither data nor a header, as it has no number and no column name; "
            f"the columns are {','.join(names)}"
        )
    return False, len(names), list(range(len(names))), []


def plain(name):
    """Normalize the name of a column: Whole weight, whole-weight and WHOLE_WEIGHT are equal."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def is_number(text):
    """Return whether the text is a number; float() alone accepts 1_000 and non-ASCII digits."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


class Problems:
    """Values that cannot be used: the number of each kind, and the first of them."""

    def __init__(self):
        self.found = {}

    def add(self, line, column, text, reason):
        first = self.found.setdefault((column.name, reason), [line, text, 0])
        first[2] += 1

    def refuse(self):
        if self.found:
            (name, reason), (line, text, count) = min(
                self.found.items(), key=lambda item: item[1][0]
            )
            others = sum(problem[2] for problem in self.found.values()) - count
            text = text if len(text) <= 40 else text[:37] + "..."
            more = f", {others} other bad values in the file" if others else ""
            raise BadInput(
                f"line {line}, column {name!r}: {text!r} {reason} "
                f"({count} such in this column{more})"
            )


def read(path):
    """Return the table of the file, whether it has a header, and the names of extra columns."""
    stream = records(path)
    line, first = next(stream, (0, None))
    if first is None:
        raise BadInput("the file has no data, only blank lines")
    has_header, width, positions, extra = layout(line, first)
    if not has_header:
        stream = itertools.chain([(line, first)], stream)

    problems = Problems()
    categories = {}
    parts = {column.name: [] for column in SCHEMA}
    all_lines = []
    while chunk := list(itertools.islice(stream, CHUNK)):
        lines = np.array([line for line, _ in chunk])
        texts = list(zip(*(checked(line, fields, width) for line, fields in chunk), strict=True))
        all_lines.append(lines)
        for column, position in zip(SCHEMA, positions, strict=True):
            if column.categorical:
                values = strings(column, texts[position], categories)
            else:
                values = numbers(column, texts[position], lines, problems)
            parts[column.name].append(values)
    problems.refuse()
    if not all_lines:
        raise BadInput("the file has a header and 0 data rows")
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Table(columns, np.concatenate(all_lines)), has_header, extra


def checked(line, fields, width):
    if len(fields) == width + 1 and not fields[-1].strip():
        return fields[:-1]  # a trailing comma
    if len(fields) != width:
        raise BadInput(
            f"line {line}: {len(fields)} fields, expected {width}; quote a field that holds a comma"
        )
    return fields


def numbers(column, texts, lines, problems):
    """Return the texts as floats, NaN where there is no value; add the others to `problems`."""
    joined = "".join(texts)
    if joined.isascii() and "_" not in joined:
        try:
            values = np.fromiter(map(float, texts), float, len(texts))
        except ValueError:
            pass
        else:
            if np.isfinite(values).all():
                return values
    values = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        if text.strip().lower() in column.missing:
            if column.name == LABEL:
                problems.add(int(lines[row]), column, text, "is not a label")
        elif not is_number(text.strip()):
            problems.add(int(lines[row]), column, text, "is not a number")
        elif not math.isfinite(float(text)):
            problems.add(int(lines[row]), column, text, "is not a finite number")
        else:
            values[row] = float(text)
    return values


def strings(column, texts, known):
    """Return the texts as categories, "" where there is no value; `known` keeps one of each."""
    values = {}
    for text in set(texts):
        value = text.strip()
        value = "" if value.lower() in column.missing else value
        values[text] = known.setdefault(value, value)
    return np.array([values[text] for text in texts], dtype=object)


# Cleaning


def clean(table):
    """Return the rows within the ranges, and notes on dropped rows and on suspicious values."""
    keep = np.ones(len(table.lines), dtype=bool)
    dropped, odd = [], []
    for column in SCHEMA:
        values = table.columns[column.name]
        if column.categorical:
            unlisted = np.array([value not in ("", *column.values) for value in values])
            if column.values and unlisted.any():
                odd.append(note(table, column, unlisted, f"not one of {', '.join(column.values)}"))
            continue
        for bad, reason in (
            (values < column.minimum, f"below {column.minimum:g}"),
            (values > column.maximum, f"above {column.maximum:g}"),
        ):
            if bad.any():
                dropped.append(note(table, column, bad, reason))
                keep &= ~bad
        if column.zero_is_odd and (values == 0).any():
            odd.append(note(table, column, values == 0, "zero"))
    return table.take(keep), dropped, odd


def note(table, column, rows, reason):
    first = table.take(np.flatnonzero(rows)[:EXAMPLES])
    pairs = zip(first.lines.tolist(), first.columns[column.name].tolist(), strict=True)
    return {
        "column": column.name,
        "reason": reason,
        "count": int(rows.sum()),
        "examples": [{"line": line, "value": value} for line, value in pairs],
    }


def check_enough(table, read_rows, duplicates):
    rows = len(table.lines)
    if rows < read_rows / 2:
        raise BadInput(
            f"only {rows} of {read_rows} rows are within the schema's ranges; "
            "are the columns in another order or unit?"
        )
    if rows - duplicates < MIN_ROWS:
        raise BadInput(
            f"{rows - duplicates} distinct row(s) of {read_rows} read can be used; "
            f"at least {MIN_ROWS} are needed to split into three"
        )
    label = table.columns[LABEL]
    if (label == label[0]).all():
        raise BadInput(
            f"column {LABEL!r} is {label[0]:g} in all {rows} rows: there is nothing to learn"
        )


def warn(table, extra, duplicates):
    """Return warnings about what may be right but should be checked."""
    warnings = []
    if extra:
        names = ", ".join(extra[:EXAMPLES]) + (", ..." if len(extra) > EXAMPLES else "")
        warnings.append(f"{len(extra)} column(s) not in the schema were ignored: {names}")
    rank_of_label = dense_rank(table.columns[LABEL])
    for column in SCHEMA:
        if remark := look_at(column, table.columns[column.name], rank_of_label):
            warnings.append(f"column {column.name!r} {remark}")
    if duplicates:
        warnings.append(
            f"{duplicates} row(s) are exact copies of another; copies were kept in the same split"
        )
    return warnings


def look_at(column, values, rank_of_label):
    distinct = len(set(values) if column.categorical else np.unique(values[~np.isnan(values)]))
    if distinct <= 1:
        return f"is constant: it says nothing about {LABEL!r}"
    if column.name == LABEL:
        return None
    if column.categorical:
        many = distinct > len(values) / 2
        return f"looks like an identifier: {distinct} categories in its rows" if many else None
    if distinct == len(values) and (values == np.floor(values)).all():
        return "looks like an identifier: another whole number in each row"
    if abs(correlation(values, rank_of_label)) > 0.999:
        return f"leaks the label: it rises or falls with {LABEL!r} almost without exception"
    return None


def correlation(values, rank_of_label):
    there = ~np.isnan(values)
    ranks = dense_rank(values[there])
    others = rank_of_label[there]
    if len(ranks) < 2 or ranks.max() == 0 or others.min() == others.max():
        return 0.0
    return np.corrcoef(ranks, others)[0, 1]


def dense_rank(values):
    return np.unique(values, return_inverse=True)[1].reshape(-1)


# Splitting


def mix(x):
    """Hash 64-bit integers, elementwise (the finalizer of Steele, Lea and Flood's SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_rows(table, seed):
    key = np.full(len(table.lines), seed, dtype=np.uint64)
    for column in SCHEMA:
        values = table.columns[column.name]
        if column.categorical:
            number = {value: hash_text(value) for value in set(values)}
            values = np.array([number[value] for value in values], dtype=np.uint64)
        else:
            values = (values + 0.0).view(np.uint64)  # + 0.0: -0.0 and 0.0 are the same value
        key = mix(key * np.uint64(3) + mix(values))
    return key


def hash_text(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def split(table, seed):
    """Return the index of each row's split, and the number of rows that are copies."""
    # Distinct rows in the order of their labels, cut into blocks; in a block the hash decides.
    keys, first, twin = np.unique(hash_rows(table, seed), return_index=True, return_inverse=True)
    by_label = np.lexsort((keys, table.columns[LABEL][first]))
    parts = np.repeat(np.arange(len(SPLITS)), list(SPLITS.values()))
    block = np.arange(len(keys)) // len(parts)
    dealt = by_label[np.lexsort((mix(keys[by_label]), block))]
    of = np.empty(len(keys), dtype=np.int64)
    of[dealt] = parts[np.arange(len(keys)) % len(parts)]
    return of[twin.reshape(-1)], len(twin) - len(keys)


# Writing


def write_csv(path, table):
    """Write header and rows in the schema's order; NaN as an empty field, 15 and not 15.0."""
    columns = [as_whole(values) for values in table.columns.values()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        for start in range(0, len(table.lines), CHUNK):
            part = (values[start : start + CHUNK].tolist() for values in columns)
            texts = (["" if value != value else value for value in values] for values in part)
            writer.writerows(zip(*texts, strict=True))


def as_whole(values):
    """Return the values as integers if all of them are whole."""
    if values.dtype == object or (values != np.rint(values)).any() or abs(values).max() >= 2**53:
        return values
    return values.astype(np.int64)


def schema_json():
    """Return what the later steps need to know; train.py packs it with the model."""
    features = []
    for column in SCHEMA:
        if column.categorical:
            missing = sorted(column.missing)
            features.append({"name": column.name, "kind": "categorical", "missing": missing})
        elif column.name != LABEL:
            features.append({"name": column.name, "kind": "numeric"})
    return {"label": LABEL, "features": features}


def describe(table):
    """Return for each column its kind, the number of missing values, and range or categories."""
    summary = {}
    for column in SCHEMA:
        values = table.columns[column.name]
        if column.categorical:
            counts = Counter(values)
            missing = counts.pop("", 0)
            top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
            about = {"kind": "categorical", "missing": missing, "categories": dict(top)}
        else:
            known = values[~np.isnan(values)]
            about = {"kind": "numeric", "missing": len(values) - len(known)}
            if len(known):
                statistics = {"minimum": known.min(), "mean": known.mean(), "maximum": known.max()}
                about |= {key: float(value) for key, value in statistics.items()}
        summary[column.name] = about
    return summary


def dump(path, content):
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_all(writers):
    """Write all files under temporary names, then rename them: a failure leaves none of them."""
    staged = {}
    try:
        for path, write in writers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = path.with_name(f".{path.name}.part")
            write(staged[path])
        for path, part in staged.items():
            os.replace(part, path)
    finally:
        for part in staged.values():
            part.unlink(missing_ok=True)


# Command


def preprocess(source, train, validation, test, report, seed, job):
    path = find_file(source)
    try:
        check_format(path)
        table, has_header, extra = read(path)
        read_rows = len(table.lines)
        table, dropped, odd = clean(table)
        part_of, duplicates = split(table, seed)
        check_enough(table, read_rows, duplicates)
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None
    parts = {name: table.take(part_of == index) for index, name in enumerate(SPLITS)}
    content = {
        "file": path.name,
        "url": data_url(job),
        "data_sha256": sha256_of(path),
        "seed": seed,
        "header": has_header,
        "rows": {
            "read": read_rows,
            "dropped": read_rows - len(table.lines),
            "kept": len(table.lines),
            "copies": duplicates,
        },
        "splits": {name: len(part.lines) for name, part in parts.items()},
        "dropped": dropped,
        "suspicious": odd,
        "warnings": warn(table, extra, duplicates),
        "columns": describe(table),
    }
    folders = {"train": train, "validation": validation, "test": test}
    writers = {
        folders[name] / f"{name}.csv": lambda out, part=part: write_csv(out, part)
        for name, part in parts.items()
    }
    writers[train / "schema.json"] = lambda out: dump(out, schema_json())
    writers[report / "data_report.json"] = lambda out: dump(out, content)
    write_all(writers)
    return content


def data_url(job):
    """Return the S3 URI of the data, which only the description of the job knows, or "unknown"."""
    try:
        inputs = json.loads(job.read_bytes())["ProcessingInputs"]
        [url] = [item["S3Input"]["S3Uri"] for item in inputs if item["InputName"] == "input-data"]
        return url
    except (OSError, ValueError, LookupError, TypeError):
        return "unknown"


def summary(report):
    rows, splits = report["rows"], report["splits"]
    yield (
        f"{report['file']}: {rows['read']:,} rows read, {rows['dropped']:,} dropped; "
        + ", ".join(f"{count:,} {name}" for name, count in splits.items())
    )
    for kind in ("dropped", "suspicious"):
        for item in report[kind]:
            lines = ", ".join(str(example["line"]) for example in item["examples"])
            where = f"column {item['column']!r} {item['reason']}"
            yield f"{kind}: {where} in {item['count']:,} row(s), line {lines}"
    for text in report["warnings"]:
        yield f"warning: {text}"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message}; see --help")


def seed_number(text):
    if not text.isdecimal() or int(text) >= 2**32:  # what scikit-learn takes, too
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def parse(argv, args=None):
    parser = Parser(description="Check, clean and split a CSV file.", allow_abbrev=False)
    base = Path("/opt/ml/processing")
    for name, default, text in (
        ("--message", None, "file for the reason of a failure (a job's /opt/ml/output/message)"),
        ("--input-data", base / "input/data", "a CSV file, or the folder that holds it"),
        ("--train", base / "train", "folder for train.csv and schema.json"),
        ("--validation", base / "validation", "folder for validation.csv"),
        ("--test", base / "test", "folder for test.csv"),
        ("--report", base / "report", "folder for data_report.json"),
        ("--job", "/opt/ml/config/processingjobconfig.json", "the job's description, if it is one"),
    ):
        parser.add_argument(name, type=Path, default=default, help=text)
    parser.add_argument(
        "--seed", type=seed_number, default=42, help="another seed, other splits (default 42)"
    )
    return parser.parse_args(argv, args)


def main(argv=None):
    args = argparse.Namespace()  # filled as far as parsing gets
    try:
        parse(argv, args)
        report = preprocess(
            args.input_data,
            args.train,
            args.validation,
            args.test,
            args.report,
            args.seed,
            args.job,
        )
    except (BadInput, OSError) as error:
        return fail(error, args.message)
    print("\n".join(summary(report)))
    return 0


def fail(error, path):
    """Write one line to stderr and to the file that becomes the job's ExitMessage; exit code."""
    line = f"preprocess.py: {error}"
    print(line, file=sys.stderr)
    if path:
        with contextlib.suppress(OSError):  # a failure to write the message must not hide the error
            path.parent.mkdir(parents=True, exist_ok=True)
            short = line.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
            path.write_text(short, encoding="utf-8")
    return 2 if isinstance(error, BadInput) else 1


if __name__ == "__main__":
    sys.exit(main())
