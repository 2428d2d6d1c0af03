"""Penalties on the size of single entries, of activations or weights."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from ..counting import count, kept, reciprocal
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty

__all__ = ["AR", "L1", "L2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elementwise(Penalty):
    """`mean(phi(x))` over all entries, or over those that the mask lets through; 0 where it lets none through."""

    maskable: ClassVar[bool] = True

    @staticmethod
    @abc.abstractmethod
    def phi(xp: Any, x: Array) -> Array:
        """The penalty of each entry."""

    @staticmethod
    @abc.abstractmethod
    def slope(xp: Any, x: Array) -> Array:
        """The derivative of `phi`, 0 at its kinks."""

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return xp.sum(kept(xp, self.phi(xp, x), mask)) * _per_entry(xp, x, mask)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        return kept(xp, self.slope(xp, x), mask) * _per_entry(xp, x, mask), {}

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (1, 1))
        yield Example(cls(), (2, 5, 3))
        yield Example(cls(), (2, 5, 3), mask_ndim=2)
        yield Example(cls(), (4, 3), mask_ndim=1)


def _per_entry(xp: Any, x: Array, mask: Array) -> "float | Array":
    n = count(xp, x, range(len(x.shape)), mask)
    return 1.0 / n if mask is None else reciprocal(xp, n)


class L1(Elementwise):
    """`mean(abs(x))`: sparse activations or weights.

    The derivative is sign(x)/n, and 0 at 0, where ReLU outputs sit. Shapes: any. A mask covers leading axes. Unchanged
    by permutations and sign flips of entries; scales as |x|.

    Source: R. Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B 58 (1996).

    >>> float(L1()(np.asarray([[1.0, -2.0], [0.0, 5.0]])))
    2.0
    """

    @staticmethod
    def phi(xp: Any, x: Array) -> Array:
        return xp.abs(x)

    @staticmethod
    def slope(xp: Any, x: Array) -> Array:
        return sign(xp, x)


class L2(Elementwise):
    """`mean(x**2)`: small activations or weights. On activations it is known as activation regularization, `AR`.

    The derivative is 2 x/n. Shapes: any. A mask covers leading axes. Unchanged by permutations and sign flips of
    entries; scales as x**2. Published use: `2.0 * AR()` on the dropped output of the last recurrent layer.

    Source: S. Merity, B. McCann, R. Socher, "Revisiting activation regularization for language RNNs" (2017),
    arXiv:1708.01009, where the formula is a norm; all code by the authors takes the mean of squares, as here.

    >>> float(L2()(np.asarray([[1.0, -2.0], [0.0, 5.0]])))
    7.5
    """

    @staticmethod
    def phi(xp: Any, x: Array) -> Array:
        return x * x

    @staticmethod
    def slope(xp: Any, x: Array) -> Array:
        return 2.0 * x


AR = L2
