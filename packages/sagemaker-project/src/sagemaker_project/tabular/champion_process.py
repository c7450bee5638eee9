"""The process in which a champion answers: its own code, its own sagemaker_project.tabular.

    python -I champion_process.py MODEL_FOLDER REQUESTS ANSWERS

REQUESTS has a JSON body on each line, as a JSON text; ANSWERS gets {"status", "text"} on each. It
ends with the process that started it. This file imports nothing of the project, so that the
champion's own modules are the ones that load.
"""

import importlib
import json
import os
import signal
import sys
import threading
from typing import Any

JSON = "application/json"


def end_with_parent() -> None:
    """Wait for the end of stdin, which the parent holds open, and end this process group."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def main(model_folder: str, requests: str, answers: str) -> None:
    sys.path.insert(0, os.path.join(model_folder, "code"))
    inference: Any = importlib.import_module("inference")
    model = inference.model_fn(model_folder)
    with open(requests, encoding="utf-8") as source, open(answers, "w", encoding="utf-8") as sink:
        for line in source:
            rows = inference.input_fn(json.loads(line), JSON)
            found = inference.output_fn(inference.predict_fn(rows, model), JSON)
            if isinstance(found, tuple):
                answer = {"status": 200, "text": found[0]}
            else:
                answer = {"status": found.status_code, "text": found.get_data(as_text=True)}
            sink.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        main(*sys.argv[1:])
    except Exception as error:
        print(" ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr)
        sys.exit(1)
