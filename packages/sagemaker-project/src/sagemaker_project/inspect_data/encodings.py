"""What a file is, from its first bytes: compression, encoding, delimiter."""

import csv
import gzip
import io
import zlib
from pathlib import Path

from sagemaker_project.errors import UsageError
from sagemaker_project.tabular.schema import DELIMITERS

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
}
UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # of no letter in cp1252
LINES = 200  # enough to tell the delimiter


def read_bytes(path: Path, limit: int) -> tuple[bytes, str, bool]:
    """Return the first `limit` bytes, decompressed; the compression; whether that is all.

    Raises:
        UsageError: it is a kind of file that is not read, or is damaged.
    """
    with path.open("rb") as file:
        start = file.read(8)
        for magic, words in OTHERS.items():
            if start.startswith(magic):
                raise UsageError(f"{path}: is {words}; export it as CSV or Parquet")
        file.seek(0)
        if not start.startswith(GZIP):
            content = file.read(limit + 1)
            return content[:limit], "", len(content) <= limit
        try:
            content = gzip.GzipFile(fileobj=file).read(limit + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise UsageError(f"{path}: is damaged gzip: {error}; copy it again") from None
    if content.startswith(PARQUET):
        raise UsageError(f"{path}: is Parquet inside of gzip; decompress it with gunzip")
    return content[:limit], "gzip", len(content) <= limit


def decode(path: Path, content: bytes, whole: bool) -> tuple[str, str]:
    """Return the text of a file's start, and its encoding."""
    encoding = _encoding(path, content)
    errors = "strict" if whole else "ignore"  # the last letter may be cut
    if encoding == "utf-16":
        content = content if whole else content[: len(content) // 2 * 2]
        text = content.decode("utf-16", errors)
    else:
        text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors)
    if "\0" in text:
        raise UsageError(f"{path}: has NUL bytes, so it is not text; export it anew as CSV")
    return text, encoding


def _encoding(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = content[:2000]
    if b"\0" in start:
        if start[1::2].count(0) > len(start) // 4 and not start[::2].count(0):
            return "utf-16"  # no byte order mark: little-endian, as Python reads it
        raise UsageError(f"{path}: has NUL bytes, so it is not text; export it anew as CSV")
    try:
        content.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # the sample was cut inside of a letter
            return "utf-8"
    return "latin-1" if any(letter in content for letter in UNDEFINED) else "cp1252"


def delimiter(path: Path, text: str) -> str:
    """Return the delimiter: the one that cuts most lines into as many cells as the first.

    Of two that do, the comma is the decimal mark, as in 1,5;2,5.
    """
    first = text.split("\n", 1)[0].strip().lower()
    if first.startswith("sep=") and len(first) == 5 and first[4] in DELIMITERS:
        return first[4]
    lines = "\n".join(text.splitlines()[:LINES])
    best, found = (0.0, False, 0), ""
    for candidate in DELIMITERS:
        try:
            rows = [len(row) for row in csv.reader(io.StringIO(lines), delimiter=candidate) if row]
        except csv.Error:
            continue
        score = (round(rows.count(rows[0]) / len(rows), 1), candidate != ",", rows[0])
        if rows[0] > 1 and score > best:
            best, found = score, candidate
    if not found:
        raise UsageError(
            f"{path}: has one column; wanted a label and features, separated by , ; | or tabs"
        )
    return found
