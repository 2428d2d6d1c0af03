"""The true value and gradient of a case: the value at 60 digits or more, and its finite differences.

The value is that of an independent transcription of the published formula, or of the penalty's own code. The gradient
of a penalty takes no part in this. Where the one-sided differences disagree there is a kink, and any number between
them is a subgradient: there the closed form chooses, and what it chose must lie between. Where the value jumps, as a
signed cosine does at a zero vector, there is no derivative and it must be 0.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from regcore.config import own

from . import digits, formulas
from .bound import Reference, reference
from .cases import UPSTREAM, Case

STEP = 2.0**-80  # the error of a central difference is its square
SMOOTH = 2.0**-60  # relative difference of the one-sided differences below which there is no kink
UNSEEN = 2.0**-78  # a slope relative to the value below which differences see their own error
JUMP = 2.0**40  # a slope relative to the value from which on there is no slope at all, but a jump

Arrays = Mapping[str, Any]  # "x" and the params
Evaluate = Callable[[Case, Arrays, Arrays], Any]  # (case, arrays, the same where they are held constant) -> value


class NoSubgradient(Exception):
    """The closed form is not between the one-sided derivatives at a kink."""


def shipped(case: Case, arrays: Arrays, held: Arrays) -> Any:
    """The value by the penalty's own code."""
    params, mask = dict(arrays), None if case.mask is None else digits.asarray(case.mask)
    return case.spec.value_holding(digits.xp, params.pop("x"), params, held, mask=mask)[()]


def transcribed(case: Case, arrays: Arrays, held: Arrays) -> Any:
    """The value by the transcription of the published formula."""
    params, fields = dict(arrays), {f.name: getattr(case.spec, f.name) for f in dataclasses.fields(case.spec)}
    return formulas.value(type(case.spec).__name__, fields, params.pop("x"), params, mask=case.mask, held=held)


def is_transcribed(case: Case) -> bool:
    """Whether the penalty is one of regcore's, of which every one has a transcription."""
    name = type(case.spec).__name__
    return name in formulas.FORMULAS and isinstance(case.spec, own()[name])


def independent(case: Case) -> Reference:
    """The reference of a case by the transcription, or by the penalty's own code if it has none."""
    return truth(case, transcribed if is_transcribed(case) else shipped)


def truth(
    case: Case,
    evaluate: Evaluate = shipped,
    closed: Reference | None = None,
    origins: "collections.Counter[str] | None" = None,
) -> Reference:
    """The reference of a case with value and gradient replaced by those that owe nothing to its closed form.

    `closed` is what `bound.reference` gives, if that is known already. `origins` counts where entries come from.
    """
    origins = collections.Counter() if origins is None else origins
    with digits.precision(), np.errstate(all="ignore"):  # NumPy knows nothing of the numbers in it
        closed = closed or reference(case.spec, case.x, case.params, mask=case.mask, upstream=UPSTREAM)
        arrays = {name: digits.asarray(array) for name, array in {"x": case.x, **case.params}.items()}
        centre = evaluate(case, arrays, arrays)
        results: dict[str, Any] = {"value": _longdouble(centre)}
        for name in closed.results.keys() - {"value"}:
            gradient = np.empty(arrays[name].shape, dtype=np.longdouble)
            for index, low, high in differences(case, evaluate, arrays, name, centre):
                chosen = closed.results[name][index]
                origin, gradient[index] = entry(low, high, chosen, 1 + abs(centre), f"{case.id}: d/d{name}{[*index]}")
                origins[origin] += 1
            results[name] = gradient
    return dataclasses.replace(closed, results=results)


def differences(
    case: Case, evaluate: Evaluate, arrays: Arrays, name: str, centre: Any
) -> Iterator[tuple[Any, Any, Any]]:
    """For each entry of one input the derivatives from the left and from the right, times the upstream one."""
    for index in np.ndindex(arrays[name].shape):
        before, after = (
            evaluate(case, {**arrays, name: _moved(arrays[name], index, sign * STEP)}, arrays) for sign in (-1, 1)
        )
        yield index, UPSTREAM * (centre - before) / STEP, UPSTREAM * (after - centre) / STEP


def _moved(array: Any, index: Any, change: Any) -> Any:
    array = array.copy()
    array[index] = array[index] + change
    return array


def entry(low: Any, high: Any, chosen: np.longdouble, size: Any, where: str) -> tuple[str, np.longdouble]:
    """A derivative from those of both sides, and where it comes from; `size` is that of the value."""
    steepest = max(abs(low), abs(high))
    if steepest > JUMP * size:
        return "jump", np.longdouble(0)
    if max(steepest, abs(float(chosen))) <= UNSEEN * size:
        return "unseen", chosen
    if abs(high - low) <= SMOOTH * (1 + abs(high) + abs(low)):
        return "difference", _longdouble((low + high) / 2)
    slack = 1e-12 * float(abs(high) + abs(low))
    if not float(min(low, high)) - slack <= float(chosen) <= float(max(low, high)) + slack:
        raise NoSubgradient(f"{where} is {chosen} at a kink between slopes {low} and {high}")
    return "kink", chosen


def _longdouble(number: Any) -> np.longdouble:
    high = float(number)
    return np.longdouble(high) + np.longdouble(float(number - high))
