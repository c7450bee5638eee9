"""What nearly every model imports, loaded once; each worker is a fork of the process that has it.

One request at a time: more OpenMP threads than one would only get in each other's way, and a fork
of a process with threads has none of them.
"""

import contextlib
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"
if sys.platform != "darwin":  # whose own libraries do not bear a fork
    with contextlib.suppress(ImportError):
        import joblib  # noqa: F401
        import sklearn.compose
        import sklearn.ensemble
        import sklearn.pipeline
        import sklearn.preprocessing  # noqa: F401
