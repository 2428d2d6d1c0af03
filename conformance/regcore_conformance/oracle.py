"""The true value and gradient of a case: the value at 60 digits, and its finite differences.

The gradient of a penalty takes no part in this. Where the one-sided differences disagree there is a kink, and any
number between them is a subgradient: there the closed form chooses, and what it chose must lie between.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import mparray
import mpmath
import numpy as np

from .bound import Reference, reference
from .cases import UPSTREAM, Case

DIGITS = 60
STEP = 2.0**-80  # the error of a central difference is its square
SMOOTH = 2.0**-60  # relative difference of the one-sided differences below which there is no kink


class NoSubgradient(Exception):
    """The closed form is not between the one-sided derivatives at a kink."""


def truth(case: Case) -> Reference:
    """The reference of a case with value and gradient replaced by those that owe nothing to its closed form."""
    with mpmath.workdps(DIGITS):
        shipped = reference(case.spec, case.x, case.params, mask=case.mask, upstream=UPSTREAM)
        inputs = {"x": case.x, **case.params}
        centre = _evaluate(case, inputs)
        results = {"value": _longdouble(centre)}
        for name in inputs:
            gradient = np.empty(inputs[name].shape, dtype=np.longdouble)
            for index, low, high in _differences(case, inputs, name, centre):
                gradient[index] = _choose(case, name, index, low, high, shipped.results[name][index])
            results[name] = gradient
    return dataclasses.replace(shipped, results=results)


def _differences(case: Case, inputs: dict[str, Any], name: str, centre: Any) -> Iterator[tuple[Any, Any, Any]]:
    """For each entry of one input the derivatives from the left and from the right, times the upstream one."""
    step = mpmath.mpf(STEP)
    for index in np.ndindex(inputs[name].shape):
        sides = [_evaluate(case, inputs, name, index, sign * step) for sign in (-1, 1)]
        yield index, UPSTREAM * (centre - sides[0]) / step, UPSTREAM * (sides[1] - centre) / step


def _choose(case: Case, name: str, index: Any, low: Any, high: Any, chosen: np.longdouble) -> np.longdouble:
    if abs(high - low) <= SMOOTH * (1 + abs(high) + abs(low)):
        return _longdouble((low + high) / 2)
    slack = 1e-12 * float(abs(high) + abs(low))
    if not float(min(low, high)) - slack <= float(chosen) <= float(max(low, high)) + slack:
        raise NoSubgradient(f"{case.id}: d/d{name}{list(index)} is {chosen} at a kink between slopes {low} and {high}")
    return chosen


def _evaluate(case: Case, inputs: dict[str, Any], name: str = "", index: Any = (), change: Any = 0) -> Any:
    arrays = {}
    for key, array in inputs.items():
        wide = np.vectorize(mpmath.mpf, otypes=[object])(np.asarray(array, dtype=np.float64))
        if key == name:
            wide[index] = wide[index] + change
        arrays[key] = mparray.asarray(wide)
    x = arrays.pop("x")
    mask = None if case.mask is None else mparray.asarray(case.mask)
    return case.spec.value(mparray, x, arrays, mask=mask)[()]


def _longdouble(number: Any) -> np.longdouble:
    high = float(number)
    return np.longdouble(high) + np.longdouble(float(number - high))
