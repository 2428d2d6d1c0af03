"""What "identical" means: an error in units of the largest that rounding can explain, from the formula's own noise.

    |J - J*|     <= u_out |J*|    + K u_acc N_J                          + tiny
    |g_i - g*_i| <= u_in  |g*_i|  + K u_acc max(N_i, 2**-20 max_j N_j)   + tiny + eta

u is the unit roundoff of the value's dtype, of the gradient's, and of the one it is accumulated in; tiny is the
smallest normal number and eta the subnormal spacing of the gradient's dtype; N is the noise scale of `noise.run`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import regcore

from . import noise

K = 8
LONG = 64  # terms of a sum, from which on K grows with its length in the fast grade


@dataclasses.dataclass(frozen=True)
class Reference:
    """Value and gradient in long double with their noise scales; the gradient by x is under the name "x"."""

    results: dict[str, np.ndarray]  # "value", "x", and each parameter
    noise: dict[str, np.ndarray]
    exact: bool
    longest: int  # sum in the formula, in terms

    def value_ratio(self, value: Any) -> float:
        """The error of a value in units of the bound; at most 1 is inside."""
        return self.worst_ratio({"value": value})

    def grad_ratio(self, dx: Any, dparams: Mapping[str, Any] | None = None) -> float:
        """The largest error of a gradient in units of the bound; at most 1 is inside."""
        return self.worst_ratio({"x": dx, **(dparams or {})})

    def worst_ratio(self, actual: Mapping[str, Any]) -> float:
        """The largest error of several results, all but the value with the spacing of subnormal numbers allowed."""
        etas = {name: 0.0 if name == "value" else _spacing(np.asarray(d).dtype) for name, d in actual.items()}
        return max(self._ratio(name, np.asarray(d), etas[name]) for name, d in actual.items())

    def _ratio(self, name: str, actual: np.ndarray, eta: float) -> float:
        true, scale = self.results[name], self.noise[name]
        if actual.shape != true.shape:
            return float("inf")
        double = self.exact or actual.dtype == np.float64
        k = K * (1 if self.exact else max(1, self.longest / LONG))
        u_acc, u_out = (2.0**-53 if double else 2.0**-24), _roundoff(actual.dtype)
        rounding = u_out * abs(true) + k * u_acc * np.maximum(scale, 2.0**-20 * scale.max(initial=0.0))
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
    results, scales, longest = noise.run(formula)
    return Reference(dict(zip(names, results, strict=True)), dict(zip(names, scales, strict=True)), exact, longest)


def _roundoff(dtype: np.dtype) -> float:
    return 2.0 ** -(np.finfo(dtype).nmant + 1)


def _tiny(dtype: np.dtype) -> float:
    return float(np.finfo(dtype if dtype == np.float64 else np.float32).smallest_normal)


def _spacing(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).smallest_subnormal)
