"""What nearly every model imports, loaded once in the process of which each worker is a fork.

OpenMP gets a single thread: a worker answers one request at a time, so more threads would compete
for its CPU, and a fork does not inherit the threads of its parent.
"""

import contextlib
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"
if sys.platform != "darwin":  # where the system libraries do not work after a fork
    with contextlib.suppress(ImportError):
        import joblib  # noqa: F401
        import sklearn.compose
        import sklearn.ensemble
        import sklearn.pipeline
        import sklearn.preprocessing  # noqa: F401
