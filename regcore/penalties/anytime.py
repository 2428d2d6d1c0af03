"""Penalties for a decision list, so that every prefix of it is already an answer and its digits are digits."""

import abc
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..counting import kept
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..reduction import Reduced
from ..regressor import prefix_sums
from .magnitude import Elementwise

__all__ = ["Containment", "Decisiveness", "PrefixSupervision"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Anytime(Reduced):
    """`mean((error(rho_j) / width_j)**2)` over samples and prefixes j = 0..k-1, `rho_j = (y - y_j) / 2**u`.

    `y_j` is the prefix of `DecisionList(signed=...)` after term j. What the terms still to come can add to it, in units
    of 2**u, goes from `low_j` to `low_j + width_j`: from 0 to tail_j, or from -tail_j to tail_j if `signed`, with
    tail_j = 2**-j - 2**-k. The last prefix, y_k, has nothing to come and is left to the loss of the task.
    """

    maskable: ClassVar[bool] = True

    signed: bool = False

    @abc.abstractmethod
    def error(self, xp: Any, rho: Array, low: float, width: float) -> Array:
        """How far off a residual is. The slope by `rho` is 1 wherever this is not 0."""

    def inputs(self) -> dict[str, str]:
        return {"u": "real floating", "y": "real floating"}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        fits = len(shape) == 2 and shape[1] is not None and shape[1] > self.signed
        fits = fits and all(len(each) == 1 and len({*each, shape[0]} - {None}) <= 1 for each in inputs.values())
        if not fits:
            columns = "k + 1" if self.signed else "k"
            raise ValueError(
                f"{self} got s of shape {shape} and {inputs}; expected s (B, {columns}) with k >= 1 known, u (B,) and "
                "y (B,), as DecisionList takes them"
            )
        if self.batch_axis % 2:
            raise ValueError(f"{self} has batch_axis={self.batch_axis}; samples are axis 0 of s: leave it out")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        errors, _, share = self._errors(xp, x, params, mask)
        return xp.sum(errors * errors) * share

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        errors, widths, share = self._errors(xp, x, params, mask)
        later = [xp.zeros_like(x[:, :1])]  # sums over j >= i of the derivatives by rho_j, for i = k down to 0
        for j in reversed(range(len(widths))):
            later.append(later[-1] + errors[:, j : j + 1] * (2.0 / widths[j]) * share)
        by_s = [-(2.0**-i) * each for i, each in enumerate(reversed(later)) if i or self.signed]
        by_ratio, inverse = later[-1][:, 0], 2.0 ** -params["u"]
        return xp.concat(by_s, axis=1), {
            "u": kept(xp, -math.log(2.0) * params["y"] * inverse * by_ratio, mask),
            "y": kept(xp, inverse * by_ratio, mask),
        }

    def _errors(self, xp: Any, s: Array, params: Params, mask: Array) -> "tuple[Array, list[float], float | Array]":
        """Errors in units of the width, (B, k), 0 for a masked sample; the widths; what each error counts for."""
        if mask is not None and len(mask.shape) != 1:
            raise ValueError(f"{self} got a mask with {len(mask.shape)} axes; expected one over samples, of shape (B,)")
        sums = prefix_sums(xp, s, self.signed)
        ratio = (params["y"] * 2.0 ** -params["u"])[:, None]
        k = sums.shape[1] - 1
        columns, widths = [], []
        for j in range(k):
            tail = 2.0**-j - 2.0**-k
            low, width = (-tail, 2.0 * tail) if self.signed else (0.0, tail)
            columns.append(self.error(xp, ratio - sums[:, j : j + 1], low, width) * (1.0 / width))
            widths.append(width)
        errors = kept(xp, xp.concat(columns, axis=1), mask)
        return errors, widths, self.share(xp, s, mask, errors, mask)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        digits = np.asarray([1.0, 1.25, 1.75, 2.5], dtype=np.float32)
        yield Example(cls(), (4, 3), inputs={"u": (4,), "y": (4,)})
        yield Example(cls(), (4, 2), inputs={"u": np.zeros(4, np.float32), "y": digits})  # at corners of the hinge
        yield Example(cls(), (4, 3), mask_ndim=1, inputs={"u": (4,), "y": (4,)})
        yield Example(cls(signed=True), (3, 4), inputs={"u": (3,), "y": (3,)})
        yield Example(cls(reduction="sum"), (1, 1), inputs={"u": (1,), "y": (1,)})
        yield Example(cls(signed=True, reduction="batch_mean"), (2, 2), inputs={"u": (2,), "y": (2,)})


class PrefixSupervision(Anytime):
    """`mean(((rho_j - middle_j) / width_j)**2)`, `rho_j = (y - y_j) / 2**u`: each prefix plus half the rest is right.

    With `y_j` the answer of `DecisionList(signed=...)` after term j = 0..k-1 and tail_j = 2**-j - 2**-k, what later
    terms can add lies in [0, tail_j] * 2**u: middle_j = tail_j / 2, width_j = tail_j. With `signed` it is
    [-tail_j, tail_j] * 2**u: middle_j = 0, width_j = 2 tail_j. A value above 1/4 says that some target is out of reach
    of its later terms. At the least, 0, the terms 1 to k - 1 are all 1/2 (0 if `signed`) and say nothing about y: this
    is for early answers, at the expense of late ones.

    Shapes: `spec(s, u=u, y=y)` for s (B, k), or (B, k + 1) with `signed`, u (B,), y (B,), and a mask (B,) of samples.
    There are derivatives by all three, through 2**u too; the one by the last term is 0. Every finite y is allowed; one
    that is not positive, which only `signed` can reach, gives a finite value. Where u is too low the value grows as
    (y / 2**u)**2, and where u is too high its derivative by u fades: start u near log2(y). The terms are magnified 2**j
    times, and |u| < 126 in float32. Samples may be reordered and y may be doubled if s and u follow.
    Unchanged by: nothing.

    Raises ValueError for other shapes and for a mask with two axes.

    Source: ours, for f-art-museum.com, "The Deep Universal Regressor II" (2019). The same idea for the coordinates of
    an embedding is in A. Kusupati et al., "Matryoshka representation learning" (2022), arXiv:2205.13147.

    >>> s, u, y = np.asarray([[1.0, 0.0]]), np.asarray([3.0]), np.asarray([11.0])
    >>> float(PrefixSupervision()(s, u=u, y=y))  # rho is 3/8 of [0, 3/4], the middle, and -1/8 of [0, 1/4]
    0.5
    """

    def error(self, xp: Any, rho: Array, low: float, width: float) -> Array:
        return rho - (low + 0.5 * width)


class Containment(Anytime):
    """`mean((outside_j / width_j)**2)`: what is left after each prefix is within reach of the terms to come.

    `outside_j` is how far rho_j = (y - y_j) / 2**u lies outside of what later terms can add, which is [0, tail_j], or
    [-tail_j, tail_j] with `signed`; y_j, tail_j and width_j are as in `PrefixSupervision`, and so are shapes, masks,
    derivatives, limits and errors. It is 0 for every exact expansion of y, so it does not compete with the loss of the
    task. At the corners the derivative is 0. Unchanged by: nothing.

    Source: ours, for f-art-museum.com, "The Deep Universal Regressor II" (2019).

    >>> s, u, y = np.asarray([[0.0, 1.0], [1.0, 0.5]]), np.asarray([3.0, 3.0]), np.asarray([13.0, 13.0])
    >>> Containment()(s[1:], u=u[1:], y=y[1:])  # 8 (1 + 1/2 + 1/8) = 13
    np.float64(0.0)
    >>> float(Containment()(s[:1], u=u[:1], y=y[:1]))  # rho_1 is 5/8, 3/8 beyond [0, 1/4]: (0 + (3/2)**2) / 2
    1.125
    """

    def error(self, xp: Any, rho: Array, low: float, width: float) -> Array:
        above = xp.where(rho > low + width, rho - (low + width), rho - rho)
        return xp.where(rho < low, rho - low, above)


class Decisiveness(Elementwise):
    """`mean(4 * s * (1 - s))`: numbers in (0, 1) become 0 or 1.

    1 where every entry is 1/2 and 0 where every entry is 0 or 1. The derivative is 4 (1 - 2 s) / n: it pushes away from
    1/2, where it is 0. Needs no labels. Makes the expansion of a `DecisionList` a binary one, which is unique.

    Shapes: any. A mask covers leading axes. `s` comes from a sigmoid: outside of [0, 1] the value is negative and has
    no lower bound. For s in (-1, 1) pass (1 + s) / 2. The same for 1 - s. Unchanged by: order of entries.

    Source: M. Raghavachari, "On connections between zero-one integer programming and concave programming under linear
    constraints", Operations Research 17 (1969), up to the factor 4.

    >>> float(Decisiveness()(np.asarray([0.0, 1.0, 0.5, 0.5])))
    0.5
    """

    def phi(self, xp: Any, x: Array) -> Array:
        return 4.0 * x * (1.0 - x)

    def slope(self, xp: Any, x: Array) -> Array:
        return 4.0 - 8.0 * x
