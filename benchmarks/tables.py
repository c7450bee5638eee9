"""Made-up tables: `python tables.py PROBLEM ROWS COLUMNS > table.csv`; the label is called `y`.

A sixth of the columns, at most 8, are text of 3 to 30 categories, the rest numbers. The label
follows from a few of the columns, with noise.
"""

import sys

import numpy as np
import pandas as pd


def make(problem, rows, columns, seed=0):
    """Return a data frame of `columns` features and the label."""
    rng = np.random.default_rng(seed)
    texts = min(8, columns // 6)
    codes = rng.integers(0, [3 + 27 * n // max(texts - 1, 1) for n in range(texts)], (rows, texts))
    numbers = rng.normal(size=(rows, columns - texts)).round(4)
    score = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + np.sin(3 * numbers[:, 3])
    if texts:
        score += 0.8 * (codes[:, 0] - 1) + 0.5 * (codes[:, -1] % 3)
    score += rng.normal(size=rows)
    frame = {f"c{n}": np.char.add(f"c{n}_", codes[:, n].astype(str)) for n in range(texts)}
    frame |= {f"x{n}": numbers[:, n] for n in range(columns - texts)}
    return pd.DataFrame(frame | {"y": _label(problem, score)})


def _label(problem, score):
    if problem == "regression":
        return score.round(3)
    if problem == "binary":
        return np.where(score > np.quantile(score, 0.7), "yes", "no")
    return np.array(["high", "low", "middle"])[
        np.select([score > np.quantile(score, 0.7), score < np.quantile(score, 0.4)], [0, 1], 2)
    ]


if __name__ == "__main__":
    problem, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    make(problem, rows, columns).to_csv(sys.stdout, index=False)
