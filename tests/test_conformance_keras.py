"""A run of the suite gives Keras a process with the right backend; keras_suite_conformance.py is what is run in it."""

import importlib.util
import json
import subprocess
import sys

import pytest

from regcore_conformance import backends
from regcore_conformance.worker import names

NAMES = ["keras:torch", "regcore_keras:torch"]  # in one process


def test_keras_runs_on_the_backend_that_is_named(tmp_path):
    for module in ("keras", "torch"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    path = tmp_path / "result.json"
    case = ["--penalties", "L2", "--cases", "L2/0/dense", "--json", str(path)]
    command = [sys.executable, "-m", "regcore_conformance", "--only", *NAMES, "--require", *NAMES, *case]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    result = json.loads(path.read_text())
    assert " on torch " in result["backends"]["keras:torch"]
    assert result["summary"]["pass"] >= 2


def test_a_run_has_every_backend_of_keras():
    assert set(backends.KERAS) <= set(names())
