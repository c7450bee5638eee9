"""Called with the folder of a trained model, the number of rounds and of rows; prints JSON.

A request of so many CSV rows through inference.py, and Pipeline.predict on such a data frame.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import pandas as pd

work, rounds, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, str(work / "model/code"))
import inference  # noqa: E402  (the artifact's own)

CALLS = 300
model = inference.model_fn(str(work / "model"))
names = [feature.name for feature in model.features]
table = pd.read_csv(work / "validation/validation.csv", keep_default_na=False)[names]
starts = range(0, len(table) - rows + 1, rows)
frames = [table.iloc[start : start + rows] for start in starts]
bodies = [frame.to_csv(header=False, index=False).encode() for frame in frames]


def through_inference(i):
    data = inference.input_fn(bodies[i % len(bodies)], "text/csv")
    return inference.output_fn(inference.predict_fn(data, model), "text/csv")[0]


def through_predict(i):
    return model.pipeline.predict(frames[i % len(frames)])


def seconds(function):
    started = time.perf_counter()
    for i in range(CALLS):
        function(i)
    return (time.perf_counter() - started) / CALLS


seconds(through_inference), seconds(through_predict)
pairs = [(seconds(through_inference), seconds(through_predict)) for _ in range(rounds)]
equal = sum(
    [float(line) for line in through_inference(i).split("\n")] == through_predict(i).tolist()
    for i in range(len(bodies))
)
print(
    json.dumps(
        {
            "ratio": statistics.median(a / b for a, b in pairs),
            "inference": statistics.median(a for a, _ in pairs),
            "predict": statistics.median(b for _, b in pairs),
            "requests": len(bodies),
            "equal": equal,
            "example": bodies[0].decode(),
            "names": names,
            "expected": through_predict(0).tolist(),
        }
    )
)
