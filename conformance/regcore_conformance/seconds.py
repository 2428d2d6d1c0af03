"""Second derivatives: one number, v H w, for two directions in all inputs, by differences of the closed-form gradient.

H is the derivative of the gradient as it is written, so a part of a penalty that is detached stays so. Where its slopes
from both sides disagree, as at a kink of the gradient, there is no true number, and any finite one will do.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from . import digits
from .bound import Judged
from .cases import UPSTREAM, Case
from .runners import directions, floating

Arrays = Mapping[str, Any]

STEP = 2.0**-60
SMOOTH = 2.0**-40  # relative difference of the one-sided differences below which there is no kink
JUMP = 2.0**40  # a slope from which on there is no slope at all, but a jump
SLACK = 2.0**-26  # half the digits of float64: another function is further off, rounding is not


class Second(NamedTuple):
    """v H w, NaN at a kink, and the sum of the magnitudes of its terms v_i (H w)_i."""

    number: float
    size: float

    def ratio(self, actual: Any) -> float:
        """The error of v H w in units of `SLACK` times its size: at most 1 is right."""
        if np.isnan(self.number):
            return 0.0 if np.isfinite(actual) else np.inf
        error = abs(float(actual) - self.number) / (SLACK * self.size + np.finfo(np.float64).tiny)
        return np.inf if np.isnan(error) else error


class Seconds:
    """What the second derivatives of a case are judged by; computed when it is asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def judge(self, results: Mapping[str, np.ndarray], *, exact: bool) -> dict[str, Judged]:
        true = second(self.case)
        ratio = true.ratio(results["second"])
        detail = f"got {float(results['second']):.9g}, expected {true.number:.9g}: {ratio:.3g} times what is allowed"
        return {"second": Judged(ratio, "" if ratio <= 1 else detail)}


def second(case: Case) -> Second:
    v, w = directions({"x": case.x.shape, **{name: case.params[name].shape for name in floating(case.params)}})
    parts = [
        {n: np.where(np.arange(d.size).reshape(d.shape) % 2 == odd, d, 0.0) for n, d in w.items()} for odd in (0, 1)
    ]
    with digits.precision(), np.errstate(all="ignore"):
        centre = _gradient(case, w, 0.0)
        low, high, size = _slopes(case, v, w, centre)
        apart = [_slopes(case, v, part, centre)[0] for part in parts]  # of a function without H, no sum of what they do
        rough = not max(abs(high - low), abs(low - sum(apart))) <= SMOOTH * (size + STEP)
    return Second(np.nan if rough or size > JUMP else float((low + high) / 2), size)


def _slopes(case: Case, v: Arrays, w: Arrays, centre: Arrays) -> tuple[Any, Any, float]:
    """v H w from the left and from the right, and the sum of the magnitudes of its terms."""
    before, after = _gradient(case, w, -STEP), _gradient(case, w, STEP)
    low, high = (sum(np.sum(v[n] * (b[n] - a[n])) for n in v) / STEP for a, b in ((before, centre), (centre, after)))
    terms = sum(np.sum(abs(v[n] * (after[n] - before[n]))) for n in v) / (2 * STEP)
    return low, high, float(terms)


def _gradient(case: Case, w: Arrays, step: float) -> Arrays:
    inputs = {name: digits.asarray(array) for name, array in {"x": case.x, **case.params}.items()}
    moved = {name: inputs[name] + step * digits.asarray(w[name]) for name in w}
    params = {**inputs, **moved}
    mask = None if case.mask is None else digits.asarray(case.mask)
    dx, dparams = case.spec.grad(digits.xp, params.pop("x"), params, mask=mask)
    return {name: UPSTREAM * (dx if name == "x" else dparams[name]) for name in w}
