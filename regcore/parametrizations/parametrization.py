"""What a parametrization is: a weight as a function of the arrays that train instead of it, and the way back."""

import abc
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import backends

Array = Any  # an array of any library that regcore knows
Raw = Any  # an array, or {name: array} where a parametrization has several parts
NORMAL = "from twice the smallest normal to half the largest number of its dtype"


class Limits(NamedTuple):
    """Twice the smallest normal and half the largest number of a dtype, so that rounding W leads to none beyond."""

    tiny: float
    huge: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parametrization(abc.ABC):
    """`A = f(W)`: the weight A that a layer uses, as a function of the raw W that an optimizer trains.

    `f(W)` gives A, and the library's own autodiff gives the derivative. `right_inverse(A)` gives the W to start from,
    and `pullback(W, upstream)` the derivative in closed form. W is an array of NumPy, PyTorch, JAX, TensorFlow or
    another array API library, and {name: array} with the names in `parts` where there are several.

    Arithmetic is in float64 for float64 arrays and in float32 for all others, rounded once to the dtype of W.

    >>> from regcore.parametrizations import Exp
    >>> Exp().right_inverse(np.asarray([1.0]))
    array([0.])
    """

    domain: ClassVar[str]  # the values that A may start from
    advice: ClassVar[str] = "Sinh() takes every finite number"  # what to use for others
    parts: ClassVar[tuple[str, ...]] = ()  # names of the raw arrays where there are several
    fixed: ClassVar[tuple[str, ...]] = ()  # those of them that do not train
    autograph_info__: ClassVar[dict[str, Any]] = {}  # for TensorFlow's AutoGraph: there is nothing to rewrite

    @abc.abstractmethod
    def forward(self, xp: Any, raw: Raw) -> Array:
        """The maths of f, in float32 or float64."""

    @abc.abstractmethod
    def inverse(self, xp: Any, weight: Array) -> Raw:
        """The maths of the right inverse, for a weight that `check` lets through."""

    @abc.abstractmethod
    def derivative(self, xp: Any, raw: Raw, upstream: Array) -> Raw:
        """The maths of `pullback`."""

    @abc.abstractmethod
    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        """Where A is in the domain; False for NaN and inf."""

    def __call__(self, raw: Raw) -> Array:
        first, xp = self._enter(raw)
        return _round(xp, self.forward(xp, _each(raw, lambda array: _widen(xp, array))), first.dtype)

    def right_inverse(self, weight: Array, *, checked: bool = True) -> Raw:
        """W with f(W) = A. ValueError for a weight outside the domain.

        `checked=False` leaves out the check, which reads values, where there are none yet, as inside of `jax.jit`.
        """
        if checked:
            self.check(weight)
        xp = backends.of(weight).namespace(weight)
        return _each(self.inverse(xp, _widen(xp, weight)), lambda array: _round(xp, array, weight.dtype))

    def pullback(self, raw: Raw, upstream: Array) -> Raw:
        """`upstream`, the derivative of a loss by A, turned into its derivative by W, in the form of W."""
        first, xp = self._enter(raw)
        wide = self.derivative(xp, _each(raw, lambda array: _widen(xp, array)), _widen(xp, upstream))
        return _each(wide, lambda array: _round(xp, array, first.dtype))

    def check(self, weight: Array) -> None:
        """Raise ValueError for a weight outside the domain, NaN included, and TypeError for no real floating array."""
        xp = backends.of(weight).namespace(weight)
        _check_dtype(xp, self, weight)
        outside = xp.logical_not(self.inside(xp, _widen(xp, weight), limits_of(xp, weight.dtype)))
        if bool(xp.any(outside)):
            index = int(xp.argmax(xp.astype(xp.reshape(outside, (-1,)), xp.int32)))
            with warnings.catch_warnings():  # PyTorch warns where a number is read from what requires a gradient
                warnings.simplefilter("ignore")
                value = float(xp.reshape(weight, (-1,))[index])
            where = tuple(int(i) for i in np.unravel_index(index, tuple(weight.shape)))
            advice = self.advice if np.isfinite(value) else "no parametrization takes that: look where it came from"
            raise ValueError(f"{self} got the weight {value} at {where}; expected {self.domain}: {advice}")

    def _enter(self, raw: Raw) -> tuple[Array, Any]:
        """One array of W and its namespace, after W was found to have the right form."""
        given = tuple(sorted(raw)) if isinstance(raw, Mapping) else ()
        if given != tuple(sorted(self.parts)):
            expected = f"{{name: array}} with the names {self.parts}" if self.parts else "one array"
            raise ValueError(
                f"{self} got {f'the parts {given}' if given else 'one array'}; expected {expected}, as "
                "right_inverse(A) gives it"
            )
        first = raw[self.parts[0]] if self.parts else raw
        xp = backends.of(first).namespace(first)
        _check_dtype(xp, self, first)
        return first, xp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elementwise(Parametrization):
    """A parametrization of each entry by itself, whose dA/dW is a function of A: an autoactivation."""

    @abc.abstractmethod
    def slope_of(self, xp: Any, weight: Array) -> Array:
        """The maths of `slope`."""

    def slope(self, weight: Array) -> Array:
        """dA/dW in terms of A, at the W that `right_inverse` gives. A step of gradient descent moves A by its square.

        >>> from regcore.parametrizations import Exp
        >>> Exp().slope(np.asarray([0.25, 4.0]))
        array([0.25, 4.  ])
        """
        xp = backends.of(weight).namespace(weight)
        _check_dtype(xp, self, weight)
        return _round(xp, self.slope_of(xp, _widen(xp, weight)), weight.dtype)

    def derivative(self, xp: Any, raw: Array, upstream: Array) -> Array:
        return upstream * self.slope_of(xp, self.forward(xp, raw))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Positive(Elementwise):
    """A parametrization of positive weights."""

    domain: ClassVar[str] = f"A > 0, {NORMAL}"
    advice: ClassVar[str] = "Sinh() takes every finite number, and FixedSign() every one but 0, whose sign it keeps"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.logical_and(weight >= limits.tiny, weight <= limits.huge)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Real(Elementwise):
    """A parametrization that reaches every number."""

    domain: ClassVar[str] = "a finite number, up to half the largest of its dtype"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.abs(weight) <= limits.huge


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonZero(Elementwise):
    """A parametrization of both signs that does not reach 0, or does not leave it."""

    domain: ClassVar[str] = f"A != 0, with |A| {NORMAL}"
    advice: ClassVar[str] = "0 would never train; Sinh() takes every finite number"

    def inside(self, xp: Any, weight: Array, limits: Limits) -> Array:
        return xp.logical_and(xp.abs(weight) >= limits.tiny, xp.abs(weight) <= limits.huge)


def limits_of(xp: Any, dtype: Any) -> Limits:
    """Of the four real dtypes; only half precision needs its name, which the array API does not know."""
    if dtype == xp.float64:
        return Limits(2.0**-1021, 2.0**1022)
    if "float16" in str(dtype) and "bfloat16" not in str(dtype):
        return Limits(2.0**-13, 2.0**14)
    return Limits(2.0**-125, 2.0**126)


def _each(raw: Raw, function: Callable[[Array], Array]) -> Raw:
    return {name: function(array) for name, array in raw.items()} if isinstance(raw, Mapping) else function(raw)


def _check_dtype(xp: Any, parametrization: Parametrization, array: Array) -> None:
    if not xp.isdtype(array.dtype, "real floating"):
        raise TypeError(f"{parametrization} got an array of dtype {array.dtype}; expected a real floating one: cast it")


def _widen(xp: Any, array: Array) -> Array:
    return array if array.dtype in (xp.float32, xp.float64) else xp.astype(array, xp.float32)


def _round(xp: Any, array: Array, dtype: Any) -> Array:
    return array if array.dtype == dtype else xp.astype(array, dtype)
