"""What the bytes of a file are, beside what schema.json says; and its text, block by block."""

import codecs
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from sagemaker_project.tabular.schema import FileFormat
from sagemaker_project.tabular.table import BadInput

BLOCK = 1 << 22  # characters read at a time
MAX_LINE = 64 << 20  # characters
MEMORY = 3  # bytes that a byte of text may take while it is read, at most
START = 4096  # bytes that are looked at first
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"(\xb5/\xfd": "compressed with zstd",
    b"\xff\xfe\0\0": "UTF-32 text",
    b"\0\0\xfe\xff": "UTF-32 text",
}
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}  # of delimiters


def differs(found: str, member: str, said: object, found_value: object) -> BadInput:
    """Return the error for a file that is not what schema.json says."""
    return BadInput(
        f"{found}, and schema.json says {json.dumps(said)} in file.{member}: "
        f"change that to {json.dumps(found_value)}, or run inspect-data"
    )


def max_bytes() -> int:
    """Return how much data is read: what fits into the memory of this machine."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        memory = 12 << 30
    return memory // MEMORY


def check_size(size: int) -> None:
    """Refuse data that would not fit into memory."""
    if size > (limit := max_bytes()):
        raise BadInput(
            f"more than {limit >> 20:,} MiB of data, which is what this machine's memory can take: "
            "take a sample, or a larger machine"
        )


def check_format(path: Path, wanted: FileFormat) -> None:
    """Refuse a file whose first bytes show that it is not what schema.json says.

    Raises:
        BadInput: with what it is instead.
    """
    start = _start(path, "")
    if start.startswith(GZIP):
        if wanted.format == "parquet":
            raise BadInput("compressed with gzip, and schema.json says Parquet: unpack it first")
        if wanted.compression != "gzip":
            raise differs("compressed with gzip", "compression", wanted.compression, "gzip")
        start = _start(path, "gzip")
    elif wanted.compression == "gzip" and wanted.format == "csv":
        raise differs("not compressed with gzip", "compression", "gzip", "")
    if start.startswith(PARQUET) != (wanted.format == "parquet"):
        found = "parquet" if wanted.format == "csv" else "csv"
        words = "a Parquet file" if wanted.format == "csv" else "not a Parquet file"
        raise differs(words, "format", wanted.format, found)
    if wanted.format == "csv":
        for signature, words in OTHERS.items():
            if start.startswith(signature):
                raise BadInput(f"not a CSV file but {words}: export it as CSV")
        _check_encoding(start, wanted)


def _check_encoding(start: bytes, wanted: FileFormat) -> None:
    mark = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if wanted.encoding == "utf-16":
        if start and not mark and b"\0" not in start:
            raise differs("not UTF-16 text", "encoding", "utf-16", "utf-8")
    elif mark:
        raise differs("UTF-16 text", "encoding", wanted.encoding, "utf-16")
    elif b"\0" in start:
        raise differs("NUL bytes (UTF-16 or binary)", "encoding", wanted.encoding, "utf-16")
    elif start.startswith(codecs.BOM_UTF8) and wanted.encoding != "utf-8":
        raise differs("UTF-8 text (its byte order mark)", "encoding", wanted.encoding, "utf-8")


def _start(path: Path, compression: str) -> bytes:
    with open_bytes(path, compression) as file, _readable():
        return file.read(START)


def open_bytes(path: Path, compression: str) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path) if compression == "gzip" else path.open("rb")


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"the gzip data are cut off or damaged ({error}): copy it again") from None


class Text:
    """The text of a file in blocks of whole lines; `line` is the number of the next one, from 1."""

    def __init__(self, path: Path, wanted: FileFormat) -> None:
        self.path, self.wanted = path, wanted
        self.line, self.rest, self.non_ascii = 1, "", False
        self.size = 0  # characters so far; gzip may hide any number
        self.file = open_bytes(path, wanted.compression)
        codec = self._codec()
        self.stream: TextIO = io.TextIOWrapper(self.file, encoding=codec, newline="")

    def close(self) -> None:
        self.stream.close()

    def _codec(self) -> str:
        if self.wanted.encoding == "utf-8":
            return "utf-8-sig"
        if self.wanted.encoding != "utf-16":
            return self.wanted.encoding
        start = _start(self.path, self.wanted.compression)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"

    def block(self) -> str:
        """Return the next lines, about BLOCK characters; "" at the end of the file.

        Raises:
            BadInput: bytes that are not of the encoding, a NUL, an endless line, damaged gzip.
        """
        while piece := self._read():
            text = self.rest + piece
            cut = text.rfind("\n") + 1 or text.rfind("\r", 0, len(text) - 1) + 1
            if cut:
                self.rest = text[cut:]
                return self._checked(text[:cut])
            if len(text) > MAX_LINE:
                raise BadInput(f"line {self.line}: it has more than {MAX_LINE:,} characters")
            self.rest = text
        text, self.rest = self.rest, ""
        return self._checked(text)

    def put_back(self, text: str) -> None:
        """Take back whole lines at the end of what block() returned."""
        self.rest = text + self.rest
        self.line -= lines_in(text)

    def _read(self) -> str:
        try:
            with _readable():
                piece = self.stream.read(BLOCK)
        except UnicodeError as error:
            raise self._undecodable(error) from None
        self.size += len(piece)
        check_size(self.size)
        return piece

    def _checked(self, text: str) -> str:
        """Return the text; refuse what a person did not type."""
        first, self.line = self.line, self.line + lines_in(text)
        if (at := text.find("\0")) >= 0:
            line = first + lines_in(text[:at])
            raise BadInput(f"line {line}: a NUL character, so the file is damaged or binary")
        if self.wanted.encoding in ("latin-1", "cp1252") and not text.isascii():
            self._check_one_byte(text, first)
        return text

    def _check_one_byte(self, text: str, first: int) -> None:
        """Refuse UTF-8 and cp1252 that were read as an encoding that takes any bytes."""
        encoding = self.wanted.encoding
        seen, self.non_ascii = self.non_ascii, True
        if not seen and _is_utf8(text.encode(encoding)):
            raise differs("UTF-8 text", "encoding", encoding, "utf-8")
        if encoding == "latin-1" and (control := re.search("[\x80-\x9f]", text)):
            line = first + lines_in(text[: control.start()])
            words = f"line {line}: byte 0x{ord(control[0]):02x} is no letter of Latin-1"
            raise differs(words, "encoding", encoding, "cp1252")

    def _undecodable(self, error: UnicodeError) -> BadInput:
        encoding = self.wanted.encoding
        if encoding == "utf-16":
            return BadInput(f"line {self.line} or later: not UTF-16 text ({error})")
        with open_bytes(self.path, self.wanted.compression) as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as found:
                    words = (
                        f"line {number}: byte 0x{line[found.start]:02x} is not {encoding.upper()}"
                    )
                    other = "latin-1" if encoding == "cp1252" else "cp1252"
                    return differs(words, "encoding", encoding, other)
        return BadInput(f"not {encoding} text ({error})")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def lines_in(text: str) -> int:
    """Return the number of line ends: LF, CRLF or CR."""
    return text.count("\n") + (text.count("\r") - text.count("\r\n") if "\r" in text else 0)
