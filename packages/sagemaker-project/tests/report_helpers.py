"""Facts of evaluations, made by hand: one for each problem, and hard ones."""

import numpy as np

HASHES = {"sha256": "0123456789abcdef" * 4}
LONG = "customer_lifetime_value_in_euros_before_tax_and_after_discounts"
UNBROKEN = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
HOSTILE = "<script>alert('&\"1')</script><!-- run -->"


def metric(value, deviation=0.012):
    return {"value": value, "standard_deviation": deviation}


def histogram(rng, bins=20, shift=0.0):
    edges = np.linspace(0, 1234.5, bins + 1).tolist()
    centre = np.arange(bins) - bins / 2
    counts = {
        split: rng.poisson(size * np.exp(-((centre - move) ** 2) / 20)).tolist()
        for split, size, move in (("train", 900, 0), ("validation", 190, 0), ("test", 190, shift))
    }
    return {"edges": edges, **counts}


def columns(names, rng):
    found = {}
    for i, name in enumerate(names):
        if i % 5 == 1:
            labels = [f"{name}-{word}" for word in ("north", "south", "east", "west")] + list(
                "abcde"
            )
            histogram_ = {
                "labels": labels,
                **{
                    split: rng.integers(5, 90, len(labels)).tolist()
                    for split in ("train", "validation", "test")
                },
            }
            counts = dict(zip(labels, histogram_["train"], strict=True))
            found[name] = {"type": "string", "missing": 7 * i, "categories": counts}
        elif i % 5 == 3:
            histogram_ = histogram(rng)
            histogram_["edges"] = np.linspace(18000, 20000, 21).tolist()
            about = {"minimum": 18000.0, "mean": 18901.5, "maximum": 20000.0}
            found[name] = {"type": "date", "missing": 0, **about}
        else:
            histogram_ = histogram(rng, shift=i % 4)
            about = {"minimum": -1.25e-7, "mean": 613.2, "maximum": 1234567.5}
            found[name] = {"type": "number", "missing": 1234, **about}
        found[name] |= {"histogram": histogram_, "drift": 0.01 * (i % 9)}
    return found


def data(names, rng):
    return {
        "file": "houses.csv",
        "rows": {"read": 4177, "dropped": 3, "kept": 4174, "copies": 0},
        "splits": {"train": 2923, "validation": 626, "test": 625},
        "dropped": [
            {
                "column": names[0],
                "reason": "is below 0",
                "count": 3,
                "examples": [{"line": 7}, {"line": 1999}],
            }
        ],
        "suspicious": [
            {"column": names[1], "reason": "is 0", "count": 1, "examples": [{"line": 12}]}
        ],
        "warnings": [f"column {names[2]!r} alone gives the label away"],
        "columns": columns(names, rng),
    }


def common(problem, label, metric_name, value, threshold, more, names, rng):
    return {
        "problem": problem,
        "label": label,
        "classes": [],
        "positive": "",
        "metric": {
            "name": metric_name,
            "value": value,
            "standard_deviation": 0.31,
            "threshold": threshold,
            "more_is_better": more,
        },
        "champion": None,
        "decision": {
            "passed": True,
            "gate": "",
            "text": f"passed: {metric_name} {value}, {threshold} wanted",
        },
        "probabilities": None,
        "importance": [
            {"column": name, "value": 2.5 / (i + 1) - 0.05, "standard_deviation": 0.02}
            for i, name in enumerate(names)
        ],
        "facets": [],
        "learning_curve": {
            "metric": metric_name,
            "train": (4 + 8 * np.exp(-np.arange(180) / 20)).tolist(),
            "validation": (4.4 + 8 * np.exp(-np.arange(180) / 20)).tolist(),
            "best": 143,
        },
        "confusion": [],
        "roc": [],
        "pr": [],
        "calibration": [],
        "calibrated": "",
        "data": data(names, rng),
        "provenance": {
            "data": {"file": "houses.csv", "url": "s3://bucket/houses/input/houses.csv", **HASHES},
            "test": {"rows": 625, **HASHES},
            "model": HASHES,
            "versions": {"python": "3.12.9", "scikit-learn": "1.9.0", "numpy": "2.5.1"},
            "hyperparameters": {"loss": "poisson", "learning_rate": 0.06, "max_iter": 400},
        },
    }


def regression(rows=625, label="rings", scale=1.0, names=None):
    rng = np.random.default_rng(1)
    names = names or ["length", "sex", "whole_weight", "caught", "height"]
    facts = common("regression", label, "mse", 4.52, 6.0, False, names, rng)
    actual = np.round(rng.gamma(9, 1.1, rows)) * scale
    predicted = actual * 0.7 + 3 * scale + rng.normal(0, 1.2, rows) * scale
    facts |= {
        "actual": actual,
        "predicted": predicted,
        "metrics": {
            "mae": metric(1.51),
            "mse": metric(4.52, 0.31),
            "rmse": metric(2.126),
            "r2": metric(0.56),
        },
        "baseline": {"mae": 2.3, "mse": 10.4, "rmse": 3.22, "r2": -0.001},
        "champion": {
            "package": "arn:aws:sagemaker:eu-west-1:123456789012:model-package/houses/7",
            "version": 7,
            "metrics": {"mae": 1.52, "mse": 4.49, "rmse": 2.12, "r2": 0.57},
            "comparable": True,
            "why": "",
        },
        "decision": {
            "passed": True,
            "gate": "",
            "text": "mse 4.52 is at most 6, better than the trivial predictor's 10.4, and within "
            "2 % of version 7's 4.49",
        },
        "facets": [
            {
                "column": "sex",
                "group": group,
                "rows": count,
                "metrics": {"mse": value, "mae": value / 3},
            }
            for group, count, value in (
                ("F", 210, 5.5),
                ("I", 201, 2.2),
                ("M", 214, 5.1),
                ("", 12, 4.0),
            )
        ],
    }
    return facts


def roc(rng, strength):
    x = np.linspace(0, 1, 60)
    y = x ** (1 / strength)
    return x, y, float(strength / (strength + 1))


def classes(names, rows=1300, positive="", label="outcome", columns_=None, champion=None):
    """Return the facts of a classification with these classes."""
    rng = np.random.default_rng(len(names))
    is_binary = len(names) == 2
    columns_ = columns_ or ["age", "region", "income", "signed_up", "visits", "plan"]
    facts = common(
        "binary" if is_binary else "multiclass", label, "auc", 0.871, 0.8, True, columns_, rng
    )
    facts["metric"]["standard_deviation"] = 0.011
    actual = rng.integers(0, len(names), rows)
    predicted = np.where(rng.random(rows) < 0.8, actual, rng.integers(0, len(names), rows))
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (actual, predicted), 1)
    probabilities = rng.dirichlet(np.ones(len(names)), rows)
    drawn = [positive] if is_binary else names
    curves = {name: roc(rng, 3 + 9 * i / len(drawn)) for i, name in enumerate(drawn)}
    share = np.linspace(0.05, 0.95, 10)
    metrics_ = ["auc", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "log_loss"]
    facts |= {
        "classes": names,
        "positive": positive,
        "actual": actual,
        "predicted": predicted,
        "probabilities": probabilities,
        "confusion": confusion.tolist(),
        "metrics": {name: metric(0.871 - 0.02 * i) for i, name in enumerate(metrics_)},
        "baseline": {name: 0.5 for name in metrics_},
        "champion": champion,
        "decision": {
            "passed": False,
            "gate": "threshold",
            "text": "auc 0.871 is below 0.9 by 0.029",
        },
        "roc": [
            {"class": name, "x": x, "y": y, "auc": auc} for name, (x, y, auc) in curves.items()
        ],
        "pr": [
            {"class": name, "x": x, "y": 1 - 0.6 * x**3, "average_precision": auc - 0.05}
            for name, (x, y, auc) in curves.items()
        ],
        "calibration": [
            {
                "class": name,
                "predicted": share.tolist(),
                "observed": np.clip(share + rng.normal(0, 0.05, 10), 0, 1).tolist(),
                "rows": [400, 200, 80, 40, 0, 20, 40, 90, 180, 250],
            }
            for name in drawn
        ],
        "calibrated": "Not recalibrated: log loss on validation 0.412, recalibrated 0.415",
        "facets": [
            {
                "column": "region",
                "group": group,
                "rows": 1300 // (i + 1),
                "metrics": {"auc": 0.9 - 0.03 * i, "accuracy": 0.8},
            }
            for i, group in enumerate(("north", "south", "east", "west"))
        ],
    }
    facts["metric"]["threshold"] = 0.9
    facts["learning_curve"] |= {"metric": "log_loss"}
    return facts


def binary():
    champion = {
        "package": "arn:aws:sagemaker:eu-west-1:123456789012:model-package/churn/3",
        "version": 3,
        "metrics": {},
        "comparable": False,
        "why": "it was trained under another split seed (7, this one 42)",
    }
    return classes(["no", "yes"], rows=9000, positive="yes", champion=champion)


def hard_regression():
    """Return 60 columns with long names, four-digit counts, and one value far from all others."""
    names = [f"{LONG}_{i}" for i in range(57)] + [UNBROKEN, HOSTILE, "x"]
    facts = regression(rows=60_000, label=LONG, scale=12_345.0, names=names)
    facts["actual"][11] = 1.2e19
    facts["predicted"][12] = -3.4e12
    facts["metrics"]["mse"] = metric(4.5e33, 1.2e30)
    facts["metric"]["value"] = 4.5e33
    facts["decision"] = {
        "passed": False,
        "gate": "champion",
        "text": "mse 4.5e33 is worse than version 7's 4.49 by more than the tolerance of 2 %",
    }
    facts["facets"] = [
        {
            "column": LONG,
            "group": group,
            "rows": 1234,
            "metrics": {"mse": 4.4, "mae": 1.5, "rmse": 2.1, "r2": 0.5},
        }
        for group in (HOSTILE, UNBROKEN, LONG)
    ]
    return facts


def hard_classes():
    """Return 20 classes, some with long names or characters that mean something in HTML."""
    names = [f"class number {i}" for i in range(16)] + [LONG, UNBROKEN, HOSTILE, "b"]
    return classes(
        names, rows=90_000, label=UNBROKEN, columns_=[HOSTILE, LONG, UNBROKEN, "a", "b", "c"]
    )


def empty():
    """Return the facts of a constant label in few rows, with nothing that may be left out."""
    facts = regression(rows=3)
    facts |= {
        "actual": np.full(3, 7.0),
        "predicted": np.full(3, 7.0),
        "importance": [],
        "learning_curve": None,
        "champion": None,
        "metrics": {"mse": metric(0.0, 0.0)},
        "baseline": {},
        "facets": [],
        "provenance": {},
    }
    facts["metric"] |= {"value": 0.0, "standard_deviation": None}
    facts["data"] |= {"dropped": [], "suspicious": [], "warnings": [], "columns": {}}
    return facts


ALL = {
    "regression": regression,
    "binary": binary,
    "multiclass": lambda: classes(["bronze", "gold", "silver"]),
    "hard_regression": hard_regression,
    "hard_classes": hard_classes,
    "empty": empty,
}
