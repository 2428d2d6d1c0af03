"""The universal regressor: an exponent, which is a mean, followed by a list of ever smaller terms."""

import dataclasses
import math
from typing import Any, Literal

from . import backends, fields
from .counting import positive_axis
from .penalty import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuasiArithmeticMean:
    """`u = unsquash(mean(squash(a)))` along one axis, the features of one example and not the batch.

    squash     formula              sum(du/da), at most
    sigmoid    1 / (1 + exp(-a))    1
    tanh       tanh(a)              1
    algebraic  a / sqrt(1 + a**2)   sqrt(n)

    `u` lies between the smallest and the largest entry, ignores their order, and rises with each of them. An entry
    counts less the further from zero it is. `a` is not squashed before.

    Shapes: any, without `axis` afterwards. Scale: that of `a`, nearly the plain mean where all |a| are small. No step
    overflows: 30 gives 30 and -90 gives -90 in float32, where the formula as written gives inf and -inf. The error is
    a few roundings of max(|a|, 1), and for "algebraic" of |u| log(1 + max(|a|)). The result is float64 for float64
    input and float32 otherwise. "algebraic" is meant for |a| < 1e19 in float32, the root of the largest number.

    The libraries differentiate it as it is written, in every mode and to any order; `grad` is the closed form. An
    unbounded odd root, `cbrt` say, is no squash here: its slope at 0 is infinite, so du/da is infinite for every entry
    that is exactly 0, as most are after a ReLU, and any finite number in its place would be wrong.

    Raises ValueError for an unknown squash, an axis that does not exist and a mean of nothing, and TypeError for what
    is no real floating-point array.

    Source: A. N. Kolmogorov, "Sur la notion de la moyenne", Atti Accad. Naz. Lincei 12 (1930), for the mean;
    f-art-museum.com, "The Universal Regressor" (2019), for its use on features.

    >>> mean = QuasiArithmeticMean()
    >>> round(float(mean(np.asarray([0.0, 1e4]))), 6)  # log(3): the mean of 1/2 and 1 is 3/4
    1.098612
    >>> mean.grad(np.asarray([1e4, 1e4]))
    array([0.5, 0.5])
    """

    squash: Literal["sigmoid", "tanh", "algebraic"] = "sigmoid"
    axis: int = -1

    def __post_init__(self) -> None:
        fields.validate(self)

    def __call__(self, a: Array) -> Array:
        xp, (a,) = _enter(self, a)
        self._check(backends.of(a).shape(a))
        return xp.squeeze(self._outward(xp, _mean(xp, self._inward(xp, a), self.axis)), axis=self.axis)

    def grad(self, a: Array) -> Array:
        """`du/da = squash'(a) / (n squash'(u))`, of the shape and dtype of `a`, without overflow."""
        xp, (wide,) = _enter(self, a)
        self._check(backends.of(a).shape(a))
        inward = self._inward(xp, wide)
        slope = _slope(xp, inward, self.axis)
        if self.squash == "algebraic":
            u = self._outward(xp, _mean(xp, inward, self.axis))
            slope = slope * (xp.sqrt(1.0 + u * u) / xp.sqrt(1.0 + wide * wide))
        return _cast(xp, slope, a.dtype)

    def _inward(self, xp: Any, a: Array) -> Array:
        """What the sigmoid is taken of: `tanh(a) = 2 sigmoid(2a) - 1`, and `algebraic(a) = tanh(asinh(a))`."""
        if self.squash == "sigmoid":
            return a
        return 2.0 * (xp.asinh(a) if self.squash == "algebraic" else a)

    def _outward(self, xp: Any, mean: Array) -> Array:
        if self.squash == "sigmoid":
            return mean
        return xp.sinh(0.5 * mean) if self.squash == "algebraic" else 0.5 * mean

    def _check(self, shape: tuple[int | None, ...]) -> None:
        if shape[positive_axis("axis", self.axis, len(shape))] == 0:
            raise ValueError(f"{self} got shape {shape}, with nothing along axis {self.axis}: there is no mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionList:
    """`y = 2**u * (1 + sum(2**-i * s[i]))`: an exponent, and terms i = 1..k that each matter half as much as the last.

    The binary form of a floating-point number with a soft mantissa. Stopped after term j it is a prefix, an earlier
    and coarser answer. `s` comes squashed, by a sigmoid into (0, 1) or by tanh into (-1, 1); `u` is free, such as a
    `QuasiArithmeticMean`.

    y is always positive: 2**u times a number in (1, 2 - 2**-k) for a sigmoid, and in (2**-k, 2 - 2**-k) for tanh.
    `signed=True` has `s[0]` from (-1, 1) in place of the leading 1, which gives 2**u times a number within
    +-(2 - 2**-k), so that zero and negative numbers are reached.

    Shapes: u (B,), s (B, k), or (B, k + 1) with `signed`; y (B,). Other shapes raise ValueError, integers TypeError. In
    float32 y is inf from u = 128, and 0 below u = -149.

    What to know: a number has many expansions with s in (0, 1), since u + 1 with all s at 0 and u with all at 1 nearly
    agree. dy/du is ln(2) y, about 2**i times the slope by the logit of term i: the exponent wins the race of
    gradients. The penalties `PrefixSupervision`, `Containment` and `Decisiveness` address both. Outside the range of
    the training data this form promises nothing.

    Source: f-art-museum.com, "The Deep Universal Regressor II" (2019). `signed` is ours.

    >>> float(DecisionList()(np.asarray([3.0]), np.asarray([[1.0, 0.0, 1.0]]))[0])  # 8 (1 + 1/2 + 1/8)
    13.0
    >>> DecisionList().prefixes(np.asarray([3.0]), np.asarray([[1.0, 0.0, 1.0]]))
    array([[ 8., 12., 12., 13.]])
    """

    signed: bool = False

    def __post_init__(self) -> None:
        fields.validate(self)

    def __call__(self, u: Array, s: Array) -> Array:
        return self.prefixes(u, s)[:, -1]

    def prefixes(self, u: Array, s: Array) -> Array:
        """The answers after each term, y_0 to y_k, of shape (B, k + 1)."""
        xp, (u, s) = self._enter(u, s)
        return (2.0**u)[:, None] * prefix_sums(xp, s, self.signed)

    def grad(self, u: Array, s: Array) -> tuple[Array, Array]:
        """`(dy/du, dy/ds) = (ln(2) y, 2**(u - i))`, of the shapes and dtypes of `u` and `s`."""
        xp, (wide, terms) = self._enter(u, s)
        scale = (2.0**wide)[:, None]
        first = 0 if self.signed else 1
        by_s = xp.concat([2.0**-i * scale for i in range(first, first + terms.shape[1])], axis=1)
        y = (scale * prefix_sums(xp, terms, self.signed))[:, -1]
        return _cast(xp, math.log(2.0) * y, u.dtype), _cast(xp, by_s, s.dtype)

    def _enter(self, u: Array, s: Array) -> tuple[Any, list[Array]]:
        xp, arrays = _enter(self, u, s)
        us, ss = backends.of(u).shape(u), backends.of(s).shape(s)
        if len(us) != 1 or len(ss) != 2 or not ss[1] or (us[0] != ss[0] and None not in (us[0], ss[0])):
            columns = "k + 1" if self.signed else "k"
            raise ValueError(
                f"{self} got u of shape {us} and s of shape {ss}; expected (B,) and (B, {columns}) with {columns} >= 1 "
                "known: bring them to these shapes, so that nothing is broadcast by chance"
            )
        return xp, arrays


def prefix_sums(xp: Any, s: Array, signed: bool) -> Array:
    """`1 + sum(2**-i * s[i], i <= j)` for j = 0..k, (B, k + 1): the prefixes of a decision list in units of 2**u."""
    sums = [s[:, :1] if signed else xp.ones_like(s[:, :1])]
    for i in range(1, s.shape[1] + (0 if signed else 1)):
        column = i if signed else i - 1
        sums.append(sums[-1] + 2.0**-i * s[:, column : column + 1])
    return xp.concat(sums, axis=1)


def _log_sigmoids(xp: Any, t: Array) -> tuple[Array, Array]:
    """`log(sigmoid(t))` and `log(sigmoid(-t))`.

    All three branches turn at the same point to the same side, so that their kinks cancel in every derivative too,
    which those of abs and minimum do not.
    """
    zero, positive = xp.zeros_like(t), t > 0
    rest = xp.log1p(xp.exp(xp.where(positive, -t, t)))
    return xp.where(positive, zero, t) - rest, xp.where(positive, -t, zero) - rest


def _mean(xp: Any, t: Array, axis: int) -> Array:
    """The mean for the sigmoid, `logsumexp(log(sigmoid(t))) - logsumexp(log(sigmoid(-t)))`: the counts cancel."""
    (top, log_sum), (bottom, log_rest) = (_log_sum_exp(xp, logs, axis) for logs in _log_sigmoids(xp, t))
    return (top - bottom) + (log_sum - log_rest)


def _log_sum_exp(xp: Any, logs: Array, axis: int) -> tuple[Array, Array]:
    """Two parts of which it is the sum. How a library splits the derivative of a tied maximum makes no difference."""
    top = xp.max(logs, axis=axis, keepdims=True)
    return top, xp.log(xp.sum(xp.exp(logs - top), axis=axis, keepdims=True))


def _slope(xp: Any, t: Array, axis: int) -> Array:
    """`softmax(p) exp(q) + softmax(q) exp(p)` for the two log sigmoids, which is `exp(p + q) / (n p' q')` of means."""
    logs = _log_sigmoids(xp, t)
    shares = []
    for own in logs:
        top, log_sum = _log_sum_exp(xp, own, axis)
        shares.append(xp.exp((own - top) - log_sum))
    return shares[0] * xp.exp(logs[1]) + shares[1] * xp.exp(logs[0])


def _enter(spec: Any, *arrays: Array) -> tuple[Any, list[Array]]:
    """The namespace of these arrays, and the arrays in the dtype to compute in."""
    backend = backends.of(arrays[0])
    xp = backend.namespace(arrays[0])
    for array in arrays:
        if backends.of(array) is not backend:
            raise TypeError(f"{spec} got a {type(arrays[0])} and a {type(array)}; pass arrays of one library")
        if not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(f"{spec} got an array of dtype {array.dtype}; convert it to a real floating-point one")
    wide = xp.float64 if any(array.dtype == xp.float64 for array in arrays) else xp.float32
    return xp, [_cast(xp, array, wide) for array in arrays]


def _cast(xp: Any, array: Array, dtype: Any) -> Array:
    return array if array.dtype == dtype else xp.astype(array, dtype)
