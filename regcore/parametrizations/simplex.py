"""The parametrization of weights that are positive and sum to one."""

import dataclasses
from typing import Any, ClassVar

from .. import backends
from .parametrization import Array, Limits, Parametrization

__all__ = ["Softmax"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax(Parametrization):
    """`A = exp(W) / sum(exp(W))` along `axis`, with dA_i/dW_j = A_i (1[i = j] - A_j): a distribution.

    A raw step moves A by -lr J J dL/dA to first order, where J = diag(A) - A A'. Adding a constant to W along the axis
    changes nothing; `right_inverse` gives the W with mean 0. Any shape that has the axis. ValueError from
    `right_inverse` where A <= 0, and where the sum along the axis is not 1 to the rounding of the dtype.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation); J. Bridle,
    "Probabilistic interpretation of feedforward classification network outputs" (1990).

    >>> Softmax()(np.asarray([3.0, 3.0])), Softmax().pullback(np.asarray([3.0, 3.0]), np.asarray([1.0, 0.0]))
    (array([0.5, 0.5]), array([ 0.25, -0.25]))
    """

    axis: int = -1
    domain: ClassVar[str] = "A > 0 that sums to 1 along the axis"
    advice: ClassVar[str] = "Exp() and Softplus() take every A > 0, and Sinh() every finite number"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.logical_and(weight >= limits.tiny, weight <= 2.0)

    def check(self, weight: Array) -> None:
        if not -len(weight.shape) <= self.axis < len(weight.shape):
            raise ValueError(f"{self} got a weight of shape {tuple(weight.shape)}, which has no such axis: set axis=")
        super().check(weight)
        xp = backends.of(weight).namespace(weight)
        wide = weight if weight.dtype == xp.float64 else xp.astype(weight, xp.float32)
        epsilon = {xp.float64: 2.0**-52, xp.float32: 2.0**-23}.get(weight.dtype, 2.0**-7)
        error = float(xp.max(xp.abs(xp.sum(wide, axis=self.axis) - 1.0)))
        if error > epsilon * (8.0 + weight.shape[self.axis] ** 0.5):
            raise ValueError(f"{self} got weights whose sum is {error:.3g} off 1; {self.domain}: divide by their sum")

    def forward(self, xp: Any, raw: Array) -> Array:
        exp = xp.exp(raw - xp.max(raw, axis=self.axis, keepdims=True))
        return exp / xp.sum(exp, axis=self.axis, keepdims=True)

    def inverse(self, xp: Any, weight: Array) -> Array:
        log = xp.log(weight)
        return log - xp.sum(log, axis=self.axis, keepdims=True) * (1.0 / weight.shape[self.axis])

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        weight = self.forward(xp, raw)
        return weight * (upstream - xp.sum(weight * upstream, axis=self.axis, keepdims=True))
