"""A block of plain lines to the parts of its columns, by pyarrow.

It must mean what the csv module and cells.parser mean. So only what both understand alike is left
to pyarrow: lines that end with LF or CRLF, quotes around whole cells, finite numbers. Sentinels,
whole numbers and labels are checked by the ColumnReader; dates, booleans and text come as their
distinct texts, and go through it too. Where anything is in doubt, the answer is None.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sagemaker_project.tabular import cells, header
from sagemaker_project.tabular.column_reader import ColumnReader, Part
from sagemaker_project.tabular.header import Layout
from sagemaker_project.tabular.schema import FileFormat


class FastReader:
    """Reads the blocks of one file."""

    def __init__(self, layout: Layout, columns: Sequence[ColumnReader], wanted: FileFormat) -> None:
        self.layout, self.columns, self.wanted = layout, columns, wanted
        groups = Counter(words for column in columns if (words := _null_words(column)) is not None)
        # pyarrow knows one list of words that mean no value: that of the most columns
        self.words = groups.most_common(1)[0][0] if groups else frozenset({""})
        self.floats = [_null_words(column) == self.words for column in columns]
        self.has_no_header = any(map(_fails_on_its_name, columns))

    def read(self, block: str) -> list[Part] | None:
        """Return a part of each column, one value for each line of the block; None if in doubt."""
        data = block.encode()
        if not has_plain_lines(data, self.wanted.delimiter):
            return None
        table = self._arrow_table(data)
        if table is None or table.num_rows != data.count(b"\n") + (not data.endswith(b"\n")):
            return None  # a blank line is no row
        parts: list[Part] = []
        has_no_header = self.has_no_header
        for number, column in enumerate(self.columns):
            found = table.column(str(self.layout.positions[number])).combine_chunks()
            if self.floats[number]:
                part = _of_floats(column, found)
            else:
                texts = found.dictionary.to_pylist()
                name = self.layout.names[number]
                has_no_header = has_no_header or name not in map(header.plain, texts)
                part = column.from_distinct(texts, found.indices.to_numpy(zero_copy_only=False))
            if part is None:
                return None
            parts.append(part)
        return parts if has_no_header else None

    def _arrow_table(self, data: bytes) -> Any:
        """Return the block as a pyarrow.Table of floats and dictionaries of text, or None."""
        import pyarrow
        from pyarrow import csv

        text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        kinds = {
            str(position): pyarrow.float64() if is_floats else text
            for position, is_floats in zip(self.layout.positions, self.floats, strict=True)
        }
        options = csv.ConvertOptions(
            column_types=kinds,
            include_columns=list(kinds),
            null_values=sorted(_spellings(self.words)),
            decimal_point=self.wanted.decimal,
        )
        names = [str(position) for position in range(self.layout.width)]
        mark: Any = '"' if b'"' in data else False
        try:
            return csv.read_csv(
                pyarrow.BufferReader(data),
                read_options=csv.ReadOptions(column_names=names, block_size=len(data) + 1),
                parse_options=csv.ParseOptions(delimiter=self.wanted.delimiter, quote_char=mark),
                convert_options=options,
            )
        except pyarrow.ArrowInvalid:
            return None


def _null_words(column: ColumnReader) -> frozenset[str] | None:
    """Return the words of no value of a column of numbers; None where pyarrow cannot read it.

    Sentinels are not among them: ColumnReader.settled finds each spelling of a number.
    """
    words = frozenset(w for w in column.field.missing if not cells.NUMBER.fullmatch(w))
    in_doubt = any(cells.is_number(word, column.decimal) for word in words)
    return words if column.is_number and not in_doubt else None


def _spellings(words: frozenset[str]) -> set[str]:
    """Return words in the cases that people write: na, NA, Na, NaN."""
    cases = {w: (w, w.upper(), w.capitalize(), "NaN" if w == "nan" else w) for w in words}
    return {text for word, texts in cases.items() for text in texts if text.lower() == word}


def _of_floats(column: ColumnReader, found: Any) -> Part | None:
    values = found.to_numpy(zero_copy_only=False)
    if np.isnan(values).sum() != found.null_count:
        return None  # the text nan is no value only where the schema says so
    return column.settled(values)


def _fails_on_its_name(column: ColumnReader) -> bool:
    """Return whether a header among the data is certain to be a bad cell of this column."""
    field = column.field
    words = field.missing | field.true_values | field.false_values
    name = header.plain(field.name)
    is_word = name in map(header.plain, words) or any(letter.isdigit() for letter in name)
    return not (field.is_text or is_word or field.format)


def has_plain_lines(data: bytes, delimiter: str) -> bool:
    """Return whether lines end with LF or CRLF, and quotes only enclose whole cells of a line."""
    if data.count(b"\r") != data.count(b"\r\n"):
        return False
    if b'"' not in data:
        return True
    letters = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(letters == ord('"'))
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    framed = np.concatenate(([ord("\n")], letters, [ord("\n")]))
    before, after = framed[opening], framed[closing + 2]
    ends = np.flatnonzero(letters == ord("\n"))
    return bool(
        np.isin(before, [ord(delimiter), ord("\n")]).all()
        and np.isin(after, [ord(delimiter), ord("\n"), ord("\r")]).all()
        and (np.searchsorted(ends, opening) == np.searchsorted(ends, closing)).all()
    )
