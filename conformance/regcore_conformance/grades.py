"""In which dtype, and how precisely, a case is evaluated: four dtypes in the fast grade, and three in the exact one."""

from collections.abc import Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np

import regcore

from .cases import Case
from .runners.bundle import Problem


class Grade(NamedTuple):
    """The dtype of the data, and whether the penalty is `exact`."""

    dtype: np.dtype
    exact: bool


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
GRADES = {
    "float64": Grade(np.dtype(np.float64), False),
    "float32": Grade(np.dtype(np.float32), False),
    "float16": Grade(np.dtype(np.float16), False),
    "bfloat16": Grade(BFLOAT16, False),
    "exact": Grade(np.dtype(np.float32), True),
    "exact float16": Grade(np.dtype(np.float16), True),
    "exact bfloat16": Grade(BFLOAT16, True),
}


def is_half(grade: str) -> bool:
    return GRADES[grade].dtype.itemsize == 2


def is_exact(grade: str) -> bool:
    return GRADES[grade].exact


def inexact(grade: str, case: Case) -> bool:
    """Whether the dtype does not hold the data of a case, so that its reference is not one of this grade."""
    with np.errstate(over="ignore"):
        return not np.array_equal(case.x.astype(GRADES[grade].dtype).astype(np.float64), case.x, equal_nan=True)


def problem(grade: str, case: Case) -> Problem:
    """A case in the dtype of a grade. What it has beside x stays in float32, as learned parameters do.

    Where NaN is hidden by the mask of a case, it must make no difference.
    """
    dtype, exact = GRADES[grade]
    spec = regcore.plain(case.spec) if case.plain else case.spec
    spec = regcore.exact(spec) if exact else spec
    x = case.x.astype(dtype)
    if hides_nan(case):
        x[~case.mask] = np.nan
    return Problem(spec, x, case.params, case.mask)


def hides_nan(case: Case) -> bool:
    """Whether a backend gets NaN where the mask hides an entry: in dense data; other patterns have numbers there."""
    return case.mask is not None and case.id.endswith("/dense")


def check_dtypes(problem: Problem, results: Mapping[str, np.ndarray]) -> None:
    """Raise TypeError unless the value is float64 for float64 and else float32, and each gradient as its array."""
    wide = np.dtype(np.float64 if problem.x.dtype == np.float64 else np.float32)
    expected = {"value": wide, "x": problem.x.dtype, **{name: p.dtype for name, p in problem.params.items()}}
    for name, result in results.items():
        if name in expected and result.dtype != expected[name]:
            what = name if name == "value" else f"gradient by {name}"
            raise TypeError(f"the {what} is {result.dtype}; expected {expected[name]}")
