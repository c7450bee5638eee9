"""Called by bench.py with the folder of a trained model and the number of rounds; prints JSON."""

import json
import statistics
import sys
import time
from pathlib import Path

import pandas as pd

work, rounds = Path(sys.argv[1]), int(sys.argv[2])
sys.path.insert(0, str(work / "model/code"))
import inference  # noqa: E402  (the artifact's own)

CALLS = 300
model = inference.model_fn(str(work / "model"))
names = [feature.name for feature in model.features]
table = pd.read_csv(work / "validation/validation.csv", keep_default_na=False)[names]
lines = [",".join(map(str, row)) for row in table.itertuples(index=False)]
frames = [table.iloc[[i]] for i in range(len(table))]


def through_inference(i):
    body = lines[i % len(lines)].encode()
    rows = inference.input_fn(body, "text/csv")
    return inference.output_fn(inference.predict_fn(rows, model), "text/csv")[0]


def through_predict(i):
    return model.pipeline.predict(frames[i % len(frames)])


def seconds(function):
    started = time.perf_counter()
    for i in range(CALLS):
        function(i)
    return (time.perf_counter() - started) / CALLS


seconds(through_inference), seconds(through_predict)
pairs = [(seconds(through_inference), seconds(through_predict)) for _ in range(rounds)]
equal = sum(float(through_inference(i)) == float(through_predict(i)[0]) for i in range(len(lines)))
print(
    json.dumps(
        {
            "ratio": statistics.median(a / b for a, b in pairs),
            "inference": statistics.median(a for a, _ in pairs),
            "predict": statistics.median(b for _, b in pairs),
            "rows": len(lines),
            "equal": equal,
        }
    )
)
