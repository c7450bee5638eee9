"""Called by bench.py with the folder of the scripts and the Abalone file; prints JSON.

Thirty seeded 70/15/15 splits, the same ones for both models: ours as train.py builds it with its
defaults, and XGBoost with the settings of the official SageMaker seed repository.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

scripts, data = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(scripts))
import preprocess  # noqa: E402
import train  # noqa: E402

SEED_SETTINGS = {
    "objective": "reg:squarederror",  # the seed's reg:linear by its current name
    "max_depth": 5,
    "eta": 0.2,
    "gamma": 4,
    "min_child_weight": 6,
    "subsample": 0.7,
    "verbosity": 0,
}

names = [column.name for column in preprocess.SCHEMA]
table = pd.read_csv(data, names=names)
features, label = table.drop(columns=preprocess.LABEL), table[preprocess.LABEL].astype(float)
kinds = {
    column.name: "categorical" if column.categorical else "numeric"
    for column in preprocess.SCHEMA
    if column.name != preprocess.LABEL
}
numeric = pd.get_dummies(features, dtype=float)
args = train.parse([])


def mse(prediction, rows):
    return float(np.mean((prediction - label.iloc[rows]) ** 2))


results = []
for seed in range(30):
    order = np.random.default_rng(seed).permutation(len(table))
    fitted_on, rest = np.split(order, [int(0.7 * len(order))])
    test = rest[len(rest) // 2 :]
    pipeline = train.build_pipeline(kinds, args)
    pipeline.fit(features.iloc[fitted_on], label.iloc[fitted_on])
    ours = mse(pipeline.predict(features.iloc[test]), test)
    booster = xgboost.train(
        {**SEED_SETTINGS, "seed": seed},
        xgboost.DMatrix(numeric.iloc[fitted_on], label.iloc[fitted_on]),
        num_boost_round=50,
    )
    theirs = mse(booster.predict(xgboost.DMatrix(numeric.iloc[test])), test)
    results.append((ours, theirs))

print(
    json.dumps(
        {
            "ours": float(np.mean([ours for ours, _ in results])),
            "theirs": float(np.mean([theirs for _, theirs in results])),
            "ratio": float(np.mean([ours / theirs for ours, theirs in results])),
        }
    )
)
