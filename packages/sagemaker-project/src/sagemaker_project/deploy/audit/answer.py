"""The process that makes predictions anew: load an unpacked artifact, answer requests with it.

Run by its path with JSON on standard input:

    {"folder": ..., "requests": [{"content_type", "accept", "body": base64}]}

and on standard output {"problem": ..., "answers": [{"body": base64} or {"error": ...}]}. It is a
process of its own because the artifact's code and its pickle run with all the rights of their
process. It calls the script's functions as SageMaker's scikit-learn container does. The artifact's
folder of code comes first on the path, so a package in it wins over an installed one of that name.
"""

import base64
import importlib.util
import json
import os
import sys
import traceback
from types import ModuleType
from typing import Any

TEXT = ("text/csv", "application/json")


def main() -> None:
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what the model prints is no answer
        asked = json.load(sys.stdin)
        code = os.path.join(asked["folder"], "code")
        sys.path[0] = code
        try:
            module = _module(os.path.join(code, "inference.py"))
            model = module.model_fn(asked["folder"])
        except Exception as error:
            traceback.print_exc()
            json.dump({"problem": _line(error), "answers": []}, out)
            return
        answers = [_answer(module, model, request) for request in asked["requests"]]
        json.dump({"problem": "", "answers": answers}, out)


def _module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("inference", path)
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules["inference"] = module
    spec.loader.exec_module(module)
    return module


def _answer(module: ModuleType, model: Any, request: dict[str, str]) -> dict[str, str]:
    body: str | bytes = base64.b64decode(request["body"])
    if isinstance(body, bytes) and request["content_type"] in TEXT:
        body = body.decode("utf-8", "replace")
    try:
        rows = module.input_fn(body, request["content_type"])
        result = module.output_fn(module.predict_fn(rows, model), request["accept"])
    except Exception as error:
        return {"error": _line(error)}
    content = result[0] if isinstance(result, tuple) else result
    if hasattr(content, "get_data"):  # a Response
        content = content.get_data()
    data = content.encode() if isinstance(content, str) else bytes(content)
    return {"body": base64.b64encode(data).decode()}


def _line(error: Exception) -> str:
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return line.encode("utf-8", "backslashreplace").decode()


if __name__ == "__main__":
    main()
