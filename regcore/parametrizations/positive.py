"""Parametrizations of positive weights: each is A = f(W), its inverse, and dA/dW in terms of A."""

from typing import Any, ClassVar

from .parametrization import Array, Limits, Positive

__all__ = ["DoubleExp", "DoubleExpm1", "Exp", "Softplus", "Square"]


class Exp(Positive):
    """`A = exp(W)`, `dA/dW = A`: a step of gradient descent moves each weight relative to its size.

    A raw step moves A by -lr A**2 dL/dA to first order. Multiplying a feature by a constant shifts W, and changes
    nothing else: training is equivariant to the scales of features, and that is what "exp converges faster" rests on.
    With features of very different scales it does; with scaled ones, plain weights can be faster.

    Overflows to inf above W = 88 in float32. Any shape. ValueError from `right_inverse` for A <= 0.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation); for the step
    E. Amid, M. Warmuth, "Reparameterizing mirror descent as gradient descent", NeurIPS 2020, arXiv:2002.10487.

    >>> Exp()(np.asarray([0.0])), Exp().slope(np.asarray([3.0]))
    (array([1.]), array([3.]))
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return xp.exp(raw)

    def inverse(self, xp: Any, weight: Array) -> Array:
        return xp.log(weight)

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return weight


class Square(Positive):
    """`A = W**2`, `dA/dW = 2 sqrt(A)` where W > 0, and minus that where W < 0.

    A raw step moves A by -4 lr A dL/dA to first order, as unnormalized exponentiated gradient does. W = 0 is a
    stationary point: A = 0 has derivative 0 and never trains, so `right_inverse` refuses it; start from a small
    positive number. It gives W > 0. A smooth loss can still lead W to 0, or across it.

    Any shape. ValueError from `right_inverse` for A <= 0.

    Source: E. Amid, M. Warmuth, "Reparameterizing mirror descent as gradient descent", NeurIPS 2020, arXiv:2002.10487.

    >>> Square().right_inverse(np.asarray([9.0])), Square().slope(np.asarray([9.0]))
    (array([3.]), array([6.]))
    """

    advice: ClassVar[str] = "0 would never train; Sinh() takes every finite number, and SignedSquare() every one but 0"

    def forward(self, xp: Any, raw: Array) -> Array:
        return raw * raw

    def inverse(self, xp: Any, weight: Array) -> Array:
        return xp.sqrt(weight)

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return 2.0 * xp.sqrt(weight)

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        return upstream * (2.0 * raw)


class DoubleExp(Positive):
    """`A = exp(exp(W))`, `dA/dW = A log(A)`. It cannot be 1 or less; `DoubleExpm1` is it minus 1.

    A raw step moves A by -lr A**2 log(A)**2 dL/dA to first order. Overflows to inf above W = 4.4 in float32, 6.5 in
    float64. Any shape. ValueError from `right_inverse` for A <= 1.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation).

    >>> [round(float(a), 12) for a in (DoubleExp()(np.asarray(0.0)), DoubleExp().slope(np.asarray(np.e)))]
    [2.718281828459, 2.718281828459]
    """

    domain: ClassVar[str] = "A > 1, up to half the largest number of its dtype"
    advice: ClassVar[str] = "DoubleExpm1() takes A > 0, and Sinh() every finite number"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.logical_and(weight > 1.0, weight <= limits.huge)

    def forward(self, xp: Any, raw: Array) -> Array:
        return xp.exp(xp.exp(raw))

    def inverse(self, xp: Any, weight: Array) -> Array:
        return xp.log(xp.log1p(weight - 1.0))

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return weight * xp.log1p(weight - 1.0)

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        return upstream * xp.exp(xp.exp(raw) + raw)  # near A = 1 log(A) has lost the digits that W has


class DoubleExpm1(Positive):
    """`A = exp(exp(W)) - 1`, `dA/dW = (1 + A) log(1 + A)`: as Exp for small weights, steeper for large ones.

    A raw step moves A by -lr ((1 + A) log(1 + A))**2 dL/dA to first order. Overflows to inf above W = 4.4 in float32,
    6.5 in float64. Any shape. ValueError from `right_inverse` for A <= 0.

    Source: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ (autoactivation), shifted by us so
    that it reaches every positive weight.

    >>> round(float(DoubleExpm1()(np.asarray(0.0))), 12)
    1.718281828459
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        return xp.expm1(xp.exp(raw))

    def inverse(self, xp: Any, weight: Array) -> Array:
        return xp.log(xp.log1p(weight))

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return (1.0 + weight) * xp.log1p(weight)


class Softplus(Positive):
    """`A = log(1 + exp(W))`, `dA/dW = 1 - exp(-A)`: as Exp for small weights, and as W itself for large ones.

    A raw step moves A by -lr (1 - exp(-A))**2 dL/dA to first order, never by more than -lr dL/dA. No overflow.
    Any shape. ValueError from `right_inverse` for A <= 0.

    Source: C. Dugas et al., "Incorporating second-order functional knowledge for better option pricing", NIPS 2000.

    >>> round(float(Softplus().right_inverse(np.log([2.0]))[0]), 12), Softplus()(np.asarray([1000.0]))
    (0.0, array([1000.]))
    """

    def forward(self, xp: Any, raw: Array) -> Array:
        zero = xp.zeros_like(raw)
        up, down = xp.where(raw > 0, raw, zero), xp.where(raw > 0, zero, raw)  # no branch overflows, so no NaN gradient
        return xp.where(raw > 0, up + xp.log1p(xp.exp(-up)), xp.log1p(xp.exp(down)))

    def inverse(self, xp: Any, weight: Array) -> Array:
        return weight + xp.log(-xp.expm1(-weight))

    def slope_of(self, xp: Any, weight: Array) -> Array:
        return -xp.expm1(-weight)
