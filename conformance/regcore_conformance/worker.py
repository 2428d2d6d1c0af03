"""One backend in a process of its own: evaluates every cell and leaves what came out in a file."""

import importlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import regcore
from regcore.config import catalogue

from . import steps
from .cases import Case, all_cases
from .runners import Evaluate, Unsupported

GRADES = {"float64": (np.float64, False), "float32": (np.float32, False), "exact": (np.float32, True)}


class Cell(NamedTuple):
    """What came of one case in one mode: results to judge, or the status and the reason that there are none."""

    mode: str
    grade: str
    case: str
    status: str  # "ran", "error", "unsupported" or "not run"
    detail: str = ""
    results: Any = None


class Outcome(NamedTuple):
    """What came of one worker; `not_run` says why, if it could not start."""

    name: str
    description: str = ""
    cells: tuple[Cell, ...] = ()
    not_run: str = ""


class NotHere(Exception):
    """What the worker needs is not on this machine."""


def _numpy() -> tuple[str, dict[str, Evaluate]]:
    from .runners import array_api

    return f"numpy {np.__version__}", array_api.evaluators(np)


def _strict() -> tuple[str, dict[str, Evaluate]]:
    import array_api_strict

    from .runners import array_api

    return f"array-api-strict {array_api_strict.__version__}", array_api.evaluators(array_api_strict)


def _torch(device: str) -> tuple[str, dict[str, Evaluate]]:
    import torch

    from .runners import torch as runner

    if device == "cuda" and not torch.cuda.is_available():
        raise NotHere("torch finds no CUDA device")
    return runner.describe(), runner.evaluators(device)


def _jax(device: str, *, x64: bool) -> tuple[str, dict[str, Evaluate]]:
    import jax

    from .runners import jax as runner

    description = runner.describe(x64)
    try:
        jax.devices(device)
    except RuntimeError:
        raise NotHere(f"jax finds no {device}") from None
    return description, runner.evaluators(device)


def _tensorflow(device: str) -> tuple[str, dict[str, Evaluate]]:
    import tensorflow as tf

    from .runners import tensorflow as runner

    description = runner.describe()
    if device == "gpu":
        raise NotHere(
            "the suite does not place TensorFlow on a GPU yet"
            if tf.config.list_physical_devices("GPU")
            else "tensorflow finds no GPU"
        )
    return description, runner.evaluators()


BACKENDS: dict[str, Callable[[], tuple[str, dict[str, Evaluate]]]] = {
    "numpy": _numpy,
    "array-api-strict": _strict,
    "torch:cpu": lambda: _torch("cpu"),
    "torch:cuda": lambda: _torch("cuda"),
    "jax:cpu": lambda: _jax("cpu", x64=False),
    "jax:cpu:x64": lambda: _jax("cpu", x64=True),
    "jax:gpu": lambda: _jax("gpu", x64=False),
    "tensorflow:cpu": lambda: _tensorflow("cpu"),
    "tensorflow:gpu": lambda: _tensorflow("gpu"),
}
ADAPTERS = {
    "regcore_torch": "torch",
    "regcore_flax": "flax",
    "regcore_keras:tensorflow": "keras",
    "regcore_keras:jax": "keras",
    "regcore_keras:torch": "keras",
}


def evaluate(name: str, cases: list[Case], *, full: bool) -> Outcome:
    """Every case in every mode and grade of one backend, or the reason why there is none."""
    try:
        description, evaluators = BACKENDS[name]()
    except (ImportError, NotHere) as reason:
        return Outcome(name, not_run=str(reason))
    return Outcome(name, description, tuple(_cells(name, evaluators, cases, full=full)))


def _cells(name: str, evaluators: dict[str, Evaluate], cases: list[Case], *, full: bool) -> Iterator[Cell]:
    for mode, function in evaluators.items():
        for grade in GRADES:
            for case in cases:
                if not (full or _by_default(name, mode, grade, case)):
                    yield Cell(mode, grade, case.id, "not run", "compiling for each example takes long: --full")
                else:
                    yield _cell(mode, function, grade, case)


def _by_default(name: str, mode: str, grade: str, case: Case) -> bool:
    """Whether a cell is in the run that takes minutes: where compiling is slow, the first example of each penalty."""
    first = case.id.split("/")[1] == "0"
    if mode == "compile":
        return first and grade != "float64"
    if name.startswith("jax") and mode == "eager":  # which compiles each operation for each shape
        return first
    return first or name != "jax:cpu:x64" or grade == "float64"


def _cell(mode: str, function: Evaluate, grade: str, case: Case) -> Cell:
    dtype, exact = GRADES[grade]
    try:
        spec = regcore.exact(case.spec) if exact else case.spec
        return Cell(mode, grade, case.id, "ran", results=function(spec, case.x.astype(dtype), case.params, case.mask))
    except Unsupported as reason:
        return Cell(mode, grade, case.id, "unsupported", str(reason))
    except Exception as error:  # whatever a backend raises is this cell's outcome, not the end of the suite
        return Cell(mode, grade, case.id, "error", f"{type(error).__name__}: {error}")


def adapt(name: str) -> Outcome:
    """The step of one adapter."""
    try:
        step = importlib.import_module(f"{steps.__name__}.{ADAPTERS[name]}").step
    except ImportError as reason:
        return Outcome(name, not_run=str(reason))
    try:
        return Outcome(name, "one SGD step", (Cell("step", "float32", "step", "ran", results=step(steps.PROBLEM)),))
    except Exception as error:  # as above
        return Outcome(
            name, "one SGD step", (Cell("step", "float32", "step", "error", f"{type(error).__name__}: {error}"),)
        )


def main() -> None:
    """The arguments are a name, the file to leave the outcome in, whether to run everything, and some penalties."""
    name, path, full, *penalties = sys.argv[1:]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cases = list(all_cases(catalogue()[penalty] for penalty in penalties))
    if name == "oracle":
        from . import oracle

        outcome: Any = {case.id: oracle.truth(case) for case in cases}
    else:
        outcome = adapt(name) if name in ADAPTERS else evaluate(name, cases, full=full == "full")
    with open(path, "wb") as file:
        pickle.dump(outcome, file)
