"""A large CSV of a request to columns: cut by numpy, all its numbers converted at once by pyarrow.

That takes a third of the time of Python's str.split and float. Only what pyarrow and the rule
understand alike is done here: no quotes, lines that end with LF or CRLF and have equally many
cells, finite numbers, empty cells. Where anything is in doubt, the answer is None.
"""

from collections.abc import Sequence

import numpy as np

from sagemaker_project.tabular.table import Floats, Integers


def read(text: str, is_number: Sequence[bool]) -> tuple[Floats, list[list[str]]] | None:
    """Return the numbers of shape (columns, rows), NaN for an empty cell, and the other columns.

    `is_number` says of each column whether it has numbers.
    """
    try:
        import pyarrow

        data = text.encode().replace(b"\r\n", b"\n").removesuffix(b"\n")
    except (ImportError, UnicodeEncodeError):  # a surrogate alone
        return None
    offsets = _offsets(data, len(is_number))
    if offsets is None or any(letter in data for letter in (b'"', b"\0", b"\r")):
        return None
    cells = pyarrow.StringArray.from_buffers(
        len(offsets) - 1,
        pyarrow.py_buffer(offsets.astype(np.int32)),
        pyarrow.py_buffer(data.translate(None, b",\n")),
        pyarrow.py_buffer(np.packbits(np.diff(offsets) > 0, bitorder="little")),  # "" is null
    )
    places = np.arange(len(cells)).reshape(-1, len(is_number)).T  # (columns, rows)
    of_numbers = np.array(is_number, bool)
    found = cells.take(pyarrow.array(places[of_numbers].ravel()))
    try:
        numbers = np.array(found.cast(pyarrow.float64()).to_numpy(zero_copy_only=False))
    except pyarrow.ArrowInvalid:
        return None
    if np.isfinite(numbers).sum() != len(found) - found.null_count:
        return None  # "nan" and "inf" are no numbers, but may be missing words
    others = [
        cells.take(pyarrow.array(column)).fill_null("").to_numpy(zero_copy_only=False).tolist()
        for column in places[~of_numbers]
    ]
    return numbers.reshape(-1, places.shape[1]), others


def _offsets(data: bytes, width: int) -> Integers | None:
    """Return where each cell begins if there were no separators; None unless lines have `width`."""
    letters = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero((letters == ord(",")) | (letters == ord("\n")))
    if (len(ends) + 1) % width:
        return None
    is_line_end = letters[ends] == ord("\n")
    if is_line_end.sum() != len(ends) // width or not is_line_end[width - 1 :: width].all():
        return None
    return np.concatenate(([0], ends - np.arange(len(ends)), [len(data) - len(ends)]))
