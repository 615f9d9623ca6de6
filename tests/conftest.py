"""One thread per test process: tests run side by side, and small tensors only lose by threads."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before torch and numpy are imported; subprocesses inherit it
