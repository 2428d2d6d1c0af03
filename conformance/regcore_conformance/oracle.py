"""The true value and gradient of a case: the value at 60 digits, and its finite differences.

The gradient of a penalty takes no part in this. Where the one-sided differences disagree there is a kink, and any
number between them is a subgradient: there the closed form chooses, and what it chose must lie between. Where the value
jumps, as a signed cosine does at a zero vector, there is no derivative and it must be 0.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from . import digits
from .bound import Reference, reference
from .cases import UPSTREAM, Case

STEP = 2.0**-80  # the error of a central difference is its square
SMOOTH = 2.0**-60  # relative difference of the one-sided differences below which there is no kink
UNSEEN = 2.0**-78  # a slope relative to the value below which differences see their own error
JUMP = 2.0**40  # a slope relative to the value from which on there is no slope at all, but a jump


class NoSubgradient(Exception):
    """The closed form is not between the one-sided derivatives at a kink."""


def truth(case: Case) -> Reference:
    """The reference of a case with value and gradient replaced by those that owe nothing to its closed form."""
    with digits.precision(), np.errstate(all="ignore"):  # NumPy knows nothing of the numbers in it
        shipped = reference(case.spec, case.x, case.params, mask=case.mask, upstream=UPSTREAM)
        arrays = {name: digits.asarray(array) for name, array in {"x": case.x, **case.params}.items()}
        centre = _evaluate(case, arrays)
        results = {"value": _longdouble(centre)}
        for name in shipped.results.keys() - {"value"}:
            gradient = np.empty(arrays[name].shape, dtype=np.longdouble)
            for index, low, high in _differences(case, arrays, name, centre):
                chosen, size = shipped.results[name][index], 1 + abs(centre)
                steepest = max(abs(low), abs(high))
                if steepest > JUMP * size:
                    gradient[index] = 0
                elif max(steepest, abs(float(chosen))) <= UNSEEN * size:
                    gradient[index] = chosen
                else:
                    gradient[index] = _choose(case, name, index, low, high, chosen)
            results[name] = gradient
    return dataclasses.replace(shipped, results=results)


def _differences(case: Case, arrays: dict[str, Any], name: str, centre: Any) -> Iterator[tuple[Any, Any, Any]]:
    """For each entry of one input the derivatives from the left and from the right, times the upstream one."""
    step = STEP
    for index in np.ndindex(arrays[name].shape):
        sides = [_evaluate(case, arrays, {name: _moved(arrays[name], index, sign * step)}) for sign in (-1, 1)]
        yield index, UPSTREAM * (centre - sides[0]) / step, UPSTREAM * (sides[1] - centre) / step


def _moved(array: Any, index: Any, change: Any) -> Any:
    array = array.copy()
    array[index] = array[index] + change
    return array


def _choose(case: Case, name: str, index: Any, low: Any, high: Any, chosen: np.longdouble) -> np.longdouble:
    if abs(high - low) <= SMOOTH * (1 + abs(high) + abs(low)):
        return _longdouble((low + high) / 2)
    slack = 1e-12 * float(abs(high) + abs(low))
    if not float(min(low, high)) - slack <= float(chosen) <= float(max(low, high)) + slack:
        raise NoSubgradient(f"{case.id}: d/d{name}{list(index)} is {chosen} at a kink between slopes {low} and {high}")
    return chosen


def _evaluate(case: Case, arrays: Mapping[str, Any], moved: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The value with some arrays in place of those that are held."""
    params = {**arrays, **moved}
    x, mask = params.pop("x"), None if case.mask is None else digits.asarray(case.mask)
    return case.spec.value_holding(digits.xp, x, params, arrays, mask=mask)[()]


def _longdouble(number: Any) -> np.longdouble:
    high = float(number)
    return np.longdouble(high) + np.longdouble(float(number - high))
