"""The Keras adapter on each backend that is installed: keras_suite*.py in a process of its own, as Keras needs it."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

SUITES = sorted(map(str, pathlib.Path(__file__).parent.glob("keras_suite*.py")))


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_suite(backend, tmp_path):
    for module in ("keras", backend):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    keras = {"KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path)}
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # most of the time is compilation
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *SUITES, "-q", "-p", "no:cacheprovider", "-o", "addopts="],
        env={**os.environ, **keras, **quick},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
