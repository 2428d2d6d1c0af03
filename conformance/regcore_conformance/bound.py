"""What "identical" means: an error in units of the largest that rounding can explain, from the formula's own noise.

    |J - J*|     <= u_out |J*|    + K u_acc N_J                          + tiny
    |g_i - g*_i| <= u_in  |g*_i|  + K u_acc max(N_i, 2**-20 max_j N_j)   + tiny + eta

u is the unit roundoff of the value's dtype, of the gradient's (and of float32, through which half precision is
rounded), and of the one it is accumulated in; tiny is the smallest normal number and eta the subnormal spacing of the
gradient's dtype; N is the noise scale of `noise.run`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import regcore

from . import noise

K = 8
LONG = 64  # terms of a sum, from which on K grows with its length in the fast grade
LONGDOUBLE = np.finfo(np.longdouble)
ROUNDOFF = {  # half precision is rounded by way of float32
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11 + 2.0**-24,
    "bfloat16": 2.0**-8 + 2.0**-24,
}
LARGEST = {
    "float64": 2.0**1023 * (2 - 2.0**-52),
    "float32": 2.0**127 * (2 - 2.0**-23),
    "float16": 65504.0,
    "bfloat16": 2.0**127 * (2 - 2.0**-7),
}
SPACING = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}  # of subnormals
ROUNDOFF.setdefault(LONGDOUBLE.dtype.name, 2.0 ** -(LONGDOUBLE.nmant + 1))
LARGEST.setdefault(LONGDOUBLE.dtype.name, np.inf)
SPACING.setdefault(LONGDOUBLE.dtype.name, 0.0)


class Judged(NamedTuple):
    """The error of a result in units of the bound, of which at most 1 is right, and what is wrong otherwise."""

    ratio: float
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Value and gradient in long double with their noise scales; the gradient by x is under the name "x"."""

    results: dict[str, np.ndarray]  # "value", "x", and each parameter
    noise: dict[str, np.ndarray]
    exact: bool
    longest: int  # sum in the formula, in terms
    jumps: Mapping[str, np.ndarray] = dataclasses.field(
        default_factory=dict
    )  # how far noise throws what is at a jump, 0 elsewhere
    rough: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # the same of noise as large as float32's

    def value_ratio(self, value: Any) -> float:
        """The error of a value in units of the bound; at most 1 is inside."""
        return self.worst_ratio({"value": value})

    def grad_ratio(self, dx: Any, dparams: Mapping[str, Any] | None = None) -> float:
        """The largest error of a gradient in units of the bound; at most 1 is inside."""
        return self.worst_ratio({"x": dx, **(dparams or {})})

    def worst_ratio(self, actual: Mapping[str, Any]) -> float:
        """The largest error of several results, all but the value with the spacing of subnormal numbers allowed."""
        etas = {name: 0.0 if name == "value" else SPACING[np.asarray(d).dtype.name] for name, d in actual.items()}
        return max(self._ratio(name, np.asarray(d), etas[name]) for name, d in actual.items())

    def judge(self, results: Mapping[str, np.ndarray], *, exact: bool, may_overflow: bool = False) -> dict[str, Judged]:
        """Each of the results, and those that are missing; `may_overflow` allows what is not finite for anything."""
        grade = dataclasses.replace(self, exact=exact)
        names = [*self.results, *sorted(results.keys() - self.results.keys())]
        with np.errstate(all="ignore"):
            return {name: grade._judged(name, results.get(name), may_overflow) for name in names}

    def _judged(self, name: str, actual: np.ndarray | None, may_overflow: bool) -> Judged:
        if actual is None or name not in self.results:
            return Judged(np.inf, f"this result is {'missing' if actual is None else 'not expected'}")
        true = self.results[name]
        if actual.shape != true.shape:
            return Judged(np.inf, f"has shape {actual.shape}; expected {true.shape}")
        overflows = may_overflow or abs(true).max(initial=0.0) > LARGEST[actual.dtype.name]
        judged = np.isfinite(actual) | (not overflows)
        part = dataclasses.replace(
            self,
            results={name: true[judged]},
            noise={name: self.noise[name][judged]},
            jumps={name: self.jumps[name][judged]} if name in self.jumps else {},
            rough={name: self.rough[name][judged]} if name in self.rough else {},
        )
        ratio = part.worst_ratio({name: actual[judged]})
        return Judged(ratio, "" if ratio <= 1 else f"error is {ratio:.3g} times the bound; {_worst(actual, true)}")

    def _ratio(self, name: str, actual: np.ndarray, eta: float) -> float:
        true, scale = self.results[name], self.noise[name]
        if actual.shape != true.shape:
            return float("inf")
        double = self.exact or actual.dtype == np.float64
        k = K * (1 if self.exact else max(1, self.longest / LONG))
        u_acc, u_out = (2.0**-53 if double else 2.0**-24), ROUNDOFF[actual.dtype.name]
        rounding = u_out * abs(true) + k * u_acc * np.maximum(scale, 2.0**-20 * scale.max(initial=0.0))
        rounding = rounding + K * self.jumps.get(name, 0.0) + (0.0 if double else K * self.rough.get(name, 0.0))
        error = abs(actual.astype(np.longdouble) - true) / (rounding + _tiny(actual.dtype) + eta)
        return float(np.where(np.isnan(error), np.inf, error).max(initial=0.0))


def reference(
    spec: regcore.Penalty,
    x: Any,
    params: Mapping[str, Any] | None = None,
    *,
    mask: Any = None,
    upstream: float = 1.0,
) -> Reference:
    """The formula in long double, and how much rounding can move it."""
    params = {name: np.asarray(param) for name, param in (params or {}).items()}
    differentiated = [name for name, param in params.items() if param.dtype.kind == "f"]

    def formula(xp: Any, convert: Any) -> list[Any]:
        arguments = (xp, convert(x), {name: convert(param) for name, param in params.items()})
        dx, dparams = spec.grad(*arguments, mask=mask)
        gradients = [dx, *(dparams[name] for name in differentiated)]
        return [spec.value(*arguments, mask=mask), *(upstream * gradient for gradient in gradients)]

    return reference_of(formula, ["value", "x", *differentiated], exact=spec.exact)


def reference_of(formula: noise.Formula, names: Sequence[str], *, exact: bool) -> Reference:
    """The results of any formula over an array namespace, under these names, with their noise scales."""
    ran = noise.run(formula)
    jumps, rough = (
        {name: deviation for name, deviation in zip(names, each, strict=True) if deviation.any()}
        for each in (ran.jumps, ran.rough)
    )
    results, scales = (dict(zip(names, arrays, strict=True)) for arrays in (ran.results, ran.scales))
    return Reference(results, scales, exact, ran.longest, jumps, rough)


def _worst(actual: np.ndarray, true: np.ndarray) -> str:
    """The entry that is furthest off, if it is an array."""
    off = np.abs(actual.astype(np.longdouble) - true)
    at = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
    place = f" at {[int(i) for i in at]}" if at else ""
    return f"got {actual[at]:.9g}{place}, expected {true[at]:.9g}"


def _tiny(dtype: np.dtype) -> float:
    return float(np.finfo(dtype if dtype == np.float64 else np.float32).smallest_normal)
