"""Parametrizations by one array that reach both signs: each is A = f(W), its inverse, and dA/dW in terms of A."""

import math
from typing import Any, ClassVar

from ..kinks import sign
from .parametrization import Array, Limits, NonZero, Real

__all__ = ["Cube", "Identity", "Log", "Reciprocal", "SignedExpm1", "SignedSquare", "Sinh"]


class Identity(Real):
    """`A = W`, `dA/dW = 1`: gradient descent as it is, to compare with. Any shape; any finite number.

    >>> Identity()(np.asarray([2.0])), Identity().slope(np.asarray([2.0]))
    (array([2.]), array([1.]))
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return raw

    def inverse(self, xp: Any, weight: Array) -> Array:
        return weight

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return xp.ones_like(weight)


class Sinh(Real):
    """`A = sinh(W)`, `dA/dW = sqrt(1 + A**2)`: relative steps for large weights, plain steps for small ones.

    The choice for weights of both signs: smooth, no stationary point, an exact inverse. A raw step moves A by
    -lr (1 + A**2) dL/dA to first order. Overflows above |W| = 89 in float32. Any shape; any finite number.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ leaves signed forms to the reader.

    >>> Sinh()(np.asarray([0.0])), Sinh().slope(np.asarray([0.75]))
    (array([0.]), array([1.25]))
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return xp.sinh(raw)

    def inverse(self, xp: Any, weight: Array) -> Array:
        return xp.asinh(weight)

    def slope_of(self, xp: Any, weight: Array) -> Array:
        size, one = xp.abs(weight), xp.ones_like(weight)
        large, small = xp.where(size > 1, size, one), xp.where(size > 1, one, size)
        ratio = small / large
        return large * xp.sqrt(1.0 + ratio * ratio)  # without A**2, which overflows


class SignedExpm1(Real):
    """`A = sign(W) (exp(|W|) - 1)`, `dA/dW = 1 + |A|`: as Sinh, with a kink in its derivative at 0.

    A raw step moves A by -lr (1 + |A|)**2 dL/dA to first order. The derivative at 0 is 1. Overflows above |W| = 88 in
    float32. Any shape; any finite number.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ leaves signed forms to the reader.

    >>> SignedExpm1().slope(np.asarray([-3.0, 0.0]))
    array([4., 1.])
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return xp.where(raw < 0, -xp.expm1(-raw), xp.expm1(raw))  # |W| has no agreed derivative at 0

    def inverse(self, xp: Any, weight: Array) -> Array:
        return sign(xp, weight) * xp.log1p(xp.abs(weight))

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return 1.0 + xp.abs(weight)


class SignedSquare(NonZero):
    """`A = W |W|`, `dA/dW = 2 sqrt(|A|)`: Square with the sign kept.

    A raw step moves A by -4 lr |A| dL/dA to first order. W = 0 is a stationary point: a weight of 0 never trains, so
    `right_inverse` refuses it. Any shape. ValueError from `right_inverse` for 0.

    Source: E. Amid, M. Warmuth, "Reparameterizing mirror descent as gradient descent", NeurIPS 2020, arXiv:2002.10487,
    for the square.

    >>> SignedSquare().right_inverse(np.asarray([-9.0])), SignedSquare().slope(np.asarray([-9.0]))
    (array([-3.]), array([6.]))
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return raw * xp.abs(raw)

    def inverse(self, xp: Any, weight: Array) -> Array:
        return sign(xp, weight) * xp.sqrt(xp.abs(weight))

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return 2.0 * xp.sqrt(xp.abs(weight))

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        return upstream * (2.0 * xp.abs(raw))


class Cube(NonZero):
    """`A = W**3`, `dA/dW = 3 cbrt(A)**2`.

    A raw step moves A by -9 lr A**(4/3) dL/dA to first order. W = 0 is a stationary point: a weight of 0 never trains,
    so `right_inverse` refuses it. Any shape. ValueError from `right_inverse` for 0.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation).

    >>> Cube().right_inverse(np.asarray([-8.0])), Cube().slope(np.asarray([-8.0]))
    (array([-2.]), array([12.]))
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return raw * raw * raw

    def inverse(self, xp: Any, weight: Array) -> Array:
        size = xp.where(weight == 0, xp.ones_like(weight), xp.abs(weight))
        root = size ** (1.0 / 3.0)
        root = (2.0 * root + size / root / root) / 3.0  # a step of Newton's: 1/3 is rounded, which extremes make felt
        return sign(xp, weight) * root

    def slope_of(self, xp: Any, weight: Array) -> Array:
        root = self.inverse(xp, weight)
        return 3.0 * (root * root)

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        return upstream * (3.0 * (raw * raw))


class Reciprocal(NonZero):
    """`A = 1 / W`, `dA/dW = -A**2`. No path leads A through 0, and a step of W across 0 throws A from end to end.

    A raw step moves A by -lr A**4 dL/dA to first order: large weights explode and small ones stand still, so lr needs
    care. inf at W = 0. Any shape. ValueError from `right_inverse` for 0, and for a number whose reciprocal is none.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation).

    >>> Reciprocal().right_inverse(np.asarray([-4.0])), Reciprocal().slope(np.asarray([-4.0]))
    (array([-0.25]), array([-16.]))
    """

    domain: ClassVar[str] = "A != 0, with |A| and 1/|A| from twice the smallest normal number of its dtype"
    advice: ClassVar[str] = "Sinh() takes every finite number"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.logical_and(xp.abs(weight) >= limits.tiny, xp.abs(weight) <= 1.0 / limits.tiny)

    def forward(self, xp: Any, raw: Array) -> Array:
        return 1.0 / raw

    def inverse(self, xp: Any, weight: Array) -> Array:
        return 1.0 / weight

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return -(weight * weight)


class Log(Real):
    """`A = log(max(W, tiny))`, `dA/dW = exp(-A)`, where tiny is the smallest normal number of float32 or float64.

    The logarithm is natural. A raw step moves A by -lr exp(-2 A) dL/dA to first order. Nothing keeps gradient descent
    from stepping to W <= 0, where A stays at log(tiny), -87 or -708, with the derivative 0: such a weight is lost. It
    is here to complete the table; for training prefer Sinh. Rounding of W near 1 makes A exact to one rounding of 1.

    Any shape. ValueError from `right_inverse` beyond -86 and 87 in float32, -707 and 708 in float64.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation).

    >>> Log()(np.asarray([1.0])), Log().slope(np.asarray([0.0])), Log()(np.asarray([-1.0])).round()
    (array([0.]), array([1.]), array([-708.]))
    """

    domain: ClassVar[str] = "A with exp(A) from twice the smallest normal to half the largest number of its dtype"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.logical_and(weight >= math.log(limits.tiny), weight <= math.log(limits.huge))

    def forward(self, xp: Any, raw: Array) -> Array:
        return xp.log(xp.where(self._lost(xp, raw), self._tiny(xp, raw), raw))

    def inverse(self, xp: Any, weight: Array) -> Array:
        return xp.exp(weight)

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return xp.exp(-weight)

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        safe = xp.where(self._lost(xp, raw), self._tiny(xp, raw), raw)
        return upstream * xp.where(self._lost(xp, raw), xp.zeros_like(raw), 1.0 / safe)

    @staticmethod
    def _tiny(xp: Any, raw: Array) -> Array:
        return xp.ones_like(raw) * (2.0**-1022 if raw.dtype == xp.float64 else 2.0**-126)

    @staticmethod
    def _lost(xp: Any, raw: Array) -> Array:
        return raw < (2.0**-1022 if raw.dtype == xp.float64 else 2.0**-126)
