"""Parametrizations of both signs by two arrays, made of one of positive weights."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from .parametrization import Array, Limits, Parametrization, Positive
from .positive import Exp

__all__ = ["Difference", "FixedSign", "SoftSign"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair(Parametrization):
    """A parametrization by two arrays, each of the shape of A."""

    inner: Parametrization = dataclasses.field(default_factory=Exp)

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Positive):
            raise TypeError(
                f"{type(self).__name__} got inner={self.inner!r}; expected a parametrization of positive weights, "
                "such as Exp(), Softplus() or Square()"
            )

    def _check_field(self, name: str, highest: float = math.inf) -> None:
        if not 0.0 < getattr(self, name) <= highest or math.isinf(getattr(self, name)):
            raise ValueError(f"{self} has {name}={getattr(self, name)}; expected a positive number up to {highest}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference(Pair):
    """`A = f(W['plus']) - f(W['minus'])`, for an `inner` f of positive weights.

    `right_inverse` gives f(plus) = max(A, 0) + delta and f(minus) = max(-A, 0) + delta. A raw step moves A by
    -lr (f'(plus)**2 + f'(minus)**2) dL/dA to first order, with f = Exp by -lr (f(plus)**2 + f(minus)**2) dL/dA: plain
    steps for weights below delta, relative ones above. A is exact to a rounding of |A| + delta.

    Any shape; any finite number. ValueError for delta <= 0, or one that f does not reach. TypeError for an `inner` of
    other than positive weights.

    Source: E. Amid, M. Warmuth, "Reparameterizing mirror descent as gradient descent", NeurIPS 2020, arXiv:2002.10487,
    where f = Square gives the two-sided unnormalized exponentiated gradient.

    >>> raw = Difference().right_inverse(np.asarray([1.0, -2.0]))
    >>> Exp()(raw["plus"]), Exp()(raw["minus"])
    (array([2., 1.]), array([1., 3.]))
    """

    delta: float = 1.0
    domain: ClassVar[str] = "a finite number, with |A| + delta up to half the largest of its dtype"
    parts: ClassVar[tuple[str, ...]] = ("plus", "minus")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_field("delta")
        self.inner.check(np.asarray(self.delta))

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.abs(weight) <= limits.huge - self.delta

    def forward(self, xp: Any, raw: Any) -> Array:
        return self.inner.forward(xp, raw["plus"]) - self.inner.forward(xp, raw["minus"])

    def inverse(self, xp: Any, weight: Array) -> Any:
        up = xp.where(weight > 0, weight, xp.zeros_like(weight))
        return {
            "plus": self.inner.inverse(xp, up + self.delta),
            "minus": self.inner.inverse(xp, up - weight + self.delta),
        }

    def derivative(self, xp: Any, raw: Any, upstream: Array) -> Any:
        return {
            "plus": self.inner.derivative(xp, raw["plus"], upstream),
            "minus": self.inner.derivative(xp, raw["minus"], -upstream),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedSign(Pair):
    """`A = s f(W['magnitude'])`, where s is -1 for W['sign'] < 0 and 1 otherwise: weights that keep their sign.

    `sign` does not train: its derivative is 0. Where it lies among trained arrays, keep weight decay away from it. A
    raw step moves A as one of f moves |A|, so |A| nears 0 and does not pass it.

    Any shape. ValueError from `right_inverse` where f does not reach |A|, as at 0. TypeError for an `inner` of other
    than positive weights.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ leaves signed forms to the reader.

    >>> raw = FixedSign().right_inverse(np.asarray([1.0, -1.0]))
    >>> raw["magnitude"], raw["sign"]
    (array([0., 0.]), array([ 1., -1.]))
    """

    domain: ClassVar[str] = "A != 0 with |A| in the domain of inner"
    parts: ClassVar[tuple[str, ...]] = ("magnitude", "sign")
    fixed: ClassVar[tuple[str, ...]] = ("sign",)

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return self.inner.inside(xp, xp.abs(weight), limits)

    def forward(self, xp: Any, raw: Any) -> Array:
        return _turn(xp, raw["sign"], self.inner.forward(xp, raw["magnitude"]))

    def inverse(self, xp: Any, weight: Array) -> Any:
        sign = _turn(xp, weight, xp.ones_like(weight))
        return {"magnitude": self.inner.inverse(xp, xp.abs(weight)), "sign": sign}

    def derivative(self, xp: Any, raw: Any, upstream: Array) -> Any:
        magnitude = self.inner.derivative(xp, raw["magnitude"], _turn(xp, raw["sign"], upstream))
        return {"magnitude": magnitude, "sign": xp.zeros_like(raw["sign"])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftSign(Pair):
    """`A = tanh(W['sign']) f(W['magnitude'])`: weights whose sign is learned apart from their size.

    `right_inverse` gives f(magnitude) = (|A| + delta) / tanh(sharpness), so `sign` is 0 for A = 0 and tends to
    +-sharpness for |A| much above delta. A raw step moves A by -lr (tanh(V)**2 f'(W)**2 + f(W)**2 / cosh(V)**4) dL/dA
    to first order, for V the sign and W the magnitude.

    Any shape; any finite number. ValueError for delta <= 0, for one that f does not reach, and for a sharpness outside
    of (0, 4], where tanh is flat. TypeError for an `inner` of other than positive weights.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ leaves signed forms to the reader.

    >>> raw = SoftSign().right_inverse(np.asarray([0.0]))
    >>> raw["sign"], SoftSign()(raw)
    (array([0.]), array([0.]))
    """

    delta: float = 1.0
    sharpness: float = 1.0
    domain: ClassVar[str] = "a finite number, with (|A| + delta) / tanh(sharpness) up to half the largest of its dtype"
    parts: ClassVar[tuple[str, ...]] = ("magnitude", "sign")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_field("delta")
        self._check_field("sharpness", 4.0)
        self.inner.check(np.asarray(self.delta / math.tanh(self.sharpness)))

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.abs(weight) <= limits.huge * math.tanh(self.sharpness) - self.delta

    def forward(self, xp: Any, raw: Any) -> Array:
        return xp.tanh(raw["sign"]) * self.inner.forward(xp, raw["magnitude"])

    def inverse(self, xp: Any, weight: Array) -> Any:
        size = (xp.abs(weight) + self.delta) / math.tanh(self.sharpness)
        return {"magnitude": self.inner.inverse(xp, size), "sign": xp.atanh(weight / size)}

    def derivative(self, xp: Any, raw: Any, upstream: Array) -> Any:
        sign, size = xp.tanh(raw["sign"]), self.inner.forward(xp, raw["magnitude"])
        return {
            "magnitude": self.inner.derivative(xp, raw["magnitude"], upstream * sign),
            "sign": upstream * size * ((1.0 - sign) * (1.0 + sign)),
        }


def _turn(xp: Any, sign: Array, array: Array) -> Array:
    """The array, negated where the sign is negative. A product would give the sign a gradient."""
    return xp.where(sign < 0, -array, array)
