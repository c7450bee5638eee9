"""XXH64 of many cells and of many texts at once, chained as Spark's `xxhash64` chains it.

All arithmetic is modulo 2**64: numpy's unsigned integers wrap around. A text is hashed under the
seed 42, a cell of 8 bytes under the hash of the cells before it in its row.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint64]

SEED = np.uint64(42)  # Spark's
P1, P2, P3, P4, P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)
EMPTY_LANE = np.uint64(0)


def hash_cells(cells: Hashes, seed: Hashes | np.uint64) -> Hashes:
    """Hash cells of 8 bytes; `seed` is one number, or one for each cell (they broadcast)."""
    with np.errstate(over="ignore"):
        mixed = (seed + P5 + np.uint64(8)) ^ _round(EMPTY_LANE, cells)
        return _avalanche(_rotate(mixed, 27) * P1 + P4)


def hash_texts(texts: Sequence[str]) -> Hashes:
    """Hash the UTF-8 of texts. Those of equal length are hashed together, as rows of a matrix."""
    encoded = [text.encode() for text in texts]
    by_length: dict[int, list[int]] = {}
    for number, data in enumerate(encoded):
        by_length.setdefault(len(data), []).append(number)
    hashes = np.empty(len(encoded), np.uint64)
    for length, numbers in by_length.items():
        joined = np.frombuffer(b"".join(encoded[number] for number in numbers), np.uint8)
        hashes[numbers] = _hash_matrix(joined.reshape(len(numbers), length))
    return hashes


def _filled(rows: int, value: np.uint64) -> Hashes:
    return np.full(rows, value, np.uint64)


def _rotate(values: Hashes, bits: int) -> Hashes:
    rotated: Hashes = (values << np.uint64(bits)) | (values >> np.uint64(64 - bits))
    return rotated


def _round(accumulator: Hashes | np.uint64, lane: Hashes) -> Hashes:
    mixed: Hashes = _rotate(accumulator + lane * P2, 31) * P1
    return mixed


def _avalanche(mixed: Hashes) -> Hashes:
    mixed = (mixed ^ (mixed >> np.uint64(33))) * P2
    mixed = (mixed ^ (mixed >> np.uint64(29))) * P3
    mixed = mixed ^ (mixed >> np.uint64(32))
    return mixed


def _hash_matrix(data: npt.NDArray[np.uint8]) -> Hashes:
    """Hash the rows of a matrix of bytes."""
    rows, length = data.shape
    with np.errstate(over="ignore"):
        at = length // 32 * 32
        mixed = _stripes(_lanes(data, 0, at, "<u8")) if at else _filled(rows, SEED + P5)
        mixed = mixed + np.uint64(length)
        for lane in _lanes(data, at, length // 8 * 8, "<u8").T:
            mixed = _rotate(mixed ^ _round(EMPTY_LANE, lane), 27) * P1 + P4
        for lane in _lanes(data, length // 8 * 8, length // 4 * 4, "<u4").T:
            mixed = _rotate(mixed ^ lane.astype(np.uint64) * P1, 23) * P2 + P3
        for byte in data[:, length // 4 * 4 :].T:
            mixed = _rotate(mixed ^ byte.astype(np.uint64) * P5, 11) * P1
        return _avalanche(mixed)


def _lanes(data: npt.NDArray[np.uint8], start: int, end: int, kind: str) -> Hashes:
    """Return the bytes from start to end as whole numbers; rows stay rows."""
    size = np.dtype(kind).itemsize
    joined = np.ascontiguousarray(data[:, start:end]).reshape(-1).view(kind)
    return joined.reshape(len(data), (end - start) // size)


def _stripes(lanes: Hashes) -> Hashes:
    """Merge the four accumulators over stripes of four lanes."""
    rows = len(lanes)
    sums = [_filled(rows, start) for start in (SEED + P1 + P2, SEED + P2, SEED, SEED - P1)]
    for column in range(0, lanes.shape[1], 4):
        sums = [_round(sums[k], lanes[:, column + k]) for k in range(4)]
    mixed = sum(
        (_rotate(part, bits) for part, bits in zip(sums, (1, 7, 12, 18), strict=True)),
        _filled(rows, EMPTY_LANE),
    )
    for part in sums:
        mixed = (mixed ^ _round(EMPTY_LANE, part)) * P1 + P4
    return mixed
