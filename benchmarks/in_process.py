"""Called with the folder of a trained model, the number of rounds and of rows; prints JSON.

A request of so many CSV rows through inference.py, and Pipeline.predict or predict_proba on such a
data frame. Both are one thread, and the seconds are of the CPU: a busy machine disturbs them less.
"""

import json
import statistics
import sys
import time
from pathlib import Path

work, rounds, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, str(work / "model/code"))
import inference  # noqa: E402  (the artifact's own, with the package that it brings along)
from sagemaker_project.tabular import features, splits  # noqa: E402

CALLS, REQUESTS = 300, 200
model = inference.model_fn(str(work / "model"))
table = splits.read_split(work / "validation/validation.csv", model.schema)
frame = features.inputs(table, model.schema)
starts = range(0, len(frame) - rows + 1, rows)[:REQUESTS]
frames = [frame.iloc[start : start + rows] for start in starts]
bodies = [one.to_csv(header=False, index=False).encode() for one in frames]
predict = model.pipeline.predict_proba if model.classes else model.pipeline.predict


def through_inference(i, accept="text/csv"):
    data = inference.input_fn(bodies[i % len(bodies)], "text/csv")
    return inference.output_fn(inference.predict_fn(data, model), accept)[0]


def through_predict(i):
    return predict(frames[i % len(frames)])


def numbers(i):
    """The numbers of an answer, as the Pipeline gives them."""
    found = json.loads(through_inference(i, "application/json"))["predictions"]
    return [list(one["probabilities"].values()) for one in found] if model.classes else found


def seconds(function, calls=CALLS):
    started = time.process_time()
    for i in range(calls):
        function(i)
    return (time.process_time() - started) / calls


seconds(through_inference), seconds(through_predict, 30)
pairs = [(seconds(through_inference), seconds(through_predict, 30)) for _ in range(rounds)]
print(
    json.dumps(
        {
            "ratio": statistics.median(a / b for a, b in pairs),
            "inference": statistics.median(a for a, _ in pairs),
            "predict": statistics.median(b for _, b in pairs),
            "requests": len(bodies),
            "equal": sum(numbers(i) == through_predict(i).tolist() for i in range(len(bodies))),
            "example": bodies[0].decode(),
            "names": list(frame),
            "expected": through_predict(0).tolist(),
        }
    )
)
