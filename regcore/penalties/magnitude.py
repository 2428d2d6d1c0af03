"""Penalties on the size of single entries, of activations or weights."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from ..counting import kept, sum_of_squares
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..pieces import Parts
from ..reduction import Reduced

__all__ = ["AR", "L1", "L2", "ElasticNet", "SpectralDecoupling"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elementwise(Reduced):
    """`mean(phi(x))` over all entries, or over those that the mask lets through; 0 where it lets none through."""

    maskable: ClassVar[bool] = True

    @abc.abstractmethod
    def phi(self, xp: Any, x: Array) -> Array:
        """The penalty of each entry."""

    @abc.abstractmethod
    def slope(self, xp: Any, x: Array) -> Array:
        """The derivative of `phi`, 0 at its kinks."""

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self._total(xp, x, mask) * self.share(xp, x, mask)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        return self._by_entries(xp, x, mask) * self.share(xp, x, mask), {}

    def apart(self, shape: Shape, across: Any) -> Parts:
        return Parts(tuple(range(len(shape))), self._total, self._by_entries, self._outer)

    def _outer(self, xp: Any, total: Array, x: Array, params: Params, mask: Array) -> Any:
        share = self.share(xp, x, mask)
        return total * share, share, {}

    def _total(self, xp: Any, x: Array, mask: Array) -> Array:
        return xp.sum(kept(xp, self.phi(xp, x), mask))

    def _by_entries(self, xp: Any, x: Array, mask: Array) -> Array:
        return kept(xp, self.slope(xp, kept(xp, x, mask)), mask)  # what is hidden may be NaN

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (1, 1))
        yield Example(cls(reduction="sum"), (2, 5, 3))
        yield Example(cls(), (2, 5, 3), mask_ndim=2)
        yield Example(cls(reduction="batch_mean"), (4, 3), mask_ndim=1)
        yield Example(cls(reduction="batch_mean", batch_axis=1), (3, 4, 2), mask_ndim=2)


class L1(Elementwise):
    """`mean(abs(x))`: sparse activations or weights.

    The derivative is sign(x)/n, and 0 at 0, where ReLU outputs sit. Shapes: any. A mask covers leading axes.
    Scales as |x|. Unchanged by: order of entries, signs of entries.

    Source: R. Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B 58 (1996).

    >>> float(L1()(np.asarray([[1.0, -2.0], [0.0, 5.0]])))
    2.0
    """

    def phi(self, xp: Any, x: Array) -> Array:
        return xp.abs(x)

    def slope(self, xp: Any, x: Array) -> Array:
        return sign(xp, x)


class L2(Elementwise):
    """`mean(x**2)`: small activations or weights. On activations it is known as activation regularization, `AR`.

    The derivative is 2 x/n. Shapes: any. A mask covers leading axes. Published use: `2.0 * AR()` on the dropped output
    of the last recurrent layer. Scales as x**2. Unchanged by: order of entries, signs of entries, rotation of units,
    rotation of samples.

    Source: S. Merity, B. McCann, R. Socher, "Revisiting activation regularization for language RNNs" (2017),
    arXiv:1708.01009, where the formula is a norm; all code by the authors takes the mean of squares, as here.

    >>> float(L2()(np.asarray([[1.0, -2.0], [0.0, 5.0]])))
    7.5
    """

    def phi(self, xp: Any, x: Array) -> Array:
        return x * x

    def slope(self, xp: Any, x: Array) -> Array:
        return 2.0 * x

    def apart(self, shape: Shape, across: Any) -> Parts:
        parts = super().apart(shape, across)
        if type(self).slope is not L2.slope or type(self).phi is not L2.phi:
            return parts
        # so that x is read and written at once, and no square is written
        return parts._replace(total=self._squares, by_entries=self._half_slope, outer=self._twice, spare=True)

    def _squares(self, xp: Any, x: Array, mask: Array) -> Array:
        return sum_of_squares(xp, kept(xp, x, mask))

    def _half_slope(self, xp: Any, x: Array, mask: Array) -> Array:
        return kept(xp, x, mask)

    def _twice(self, xp: Any, total: Array, x: Array, params: Params, mask: Array) -> Any:
        share = self.share(xp, x, mask)
        return total * share, 2.0 * share, {}


AR = L2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElasticNet(Elementwise):
    """`mean(l1_ratio * abs(x) + (1 - l1_ratio) / 2 * x**2)`: the elastic net, sparse and small at once.

    The names and the half are those of glmnet and scikit-learn; in the notation of Zou and Hastie, lambda1 |x| +
    lambda2 x**2, this is lambda1 = l1_ratio and lambda2 = (1 - l1_ratio) / 2. The derivative is
    (l1_ratio sign(x) + (1 - l1_ratio) x)/n, with sign(0) = 0. Use it where correlated units should stay or go together;
    not where entries must not shrink. Shapes: any. A mask covers leading axes. Between |x| and x**2/2 in scale.
    Unchanged by: order of entries, signs of entries.

    Raises ValueError for an `l1_ratio` outside of [0, 1].

    Source: H. Zou, T. Hastie, "Regularization and variable selection via the elastic net", J. R. Stat. Soc. B 67
    (2005); the parametrization is of J. Friedman, T. Hastie, R. Tibshirani, "Regularization paths for generalized
    linear models via coordinate descent", J. Stat. Softw. 33 (2010).

    >>> float(ElasticNet()(np.asarray([[1.0, -2.0], [0.0, 5.0]])))  # 2/2 + 7.5/4
    2.875
    """

    l1_ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.l1_ratio <= 1.0:
            raise ValueError(f"l1_ratio={self.l1_ratio}; it is the share of |x|: 0 for squares only, 1 for |x| only")

    def phi(self, xp: Any, x: Array) -> Array:
        return self.l1_ratio * xp.abs(x) + (0.5 * (1.0 - self.l1_ratio)) * (x * x)

    def slope(self, xp: Any, x: Array) -> Array:
        return self.l1_ratio * sign(xp, x) + (1.0 - self.l1_ratio) * x

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(l1_ratio=0.9), (2, 3, 2), mask_ndim=2)
        yield Example(cls(l1_ratio=0.0, reduction="sum"), (3, 2))
        yield Example(cls(l1_ratio=1.0, reduction="batch_mean"), (3, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralDecoupling(Elementwise):
    """`sum(x**2) / 2 / batch`: spectral decoupling, small logits, half the squared norm of those of each sample.

    With cross-entropy it keeps a feature that is learned early from starving the others of gradient; not for logits
    whose size means something, and not in the place of weight decay. The derivative is x/batch. Shapes: any with a
    batch axis. A mask covers leading axes. `reduction="mean"` divides by the number of logits too. Scales as x**2. It
    is `L2` up to a factor. Unchanged by: order of entries, signs of entries, rotation of units, rotation of samples.

    Source: M. Pezeshki, S.-O. Kaba, Y. Bengio, A. Courville, D. Precup, G. Lajoie, "Gradient starvation: a learning
    proclivity in neural networks", NeurIPS (2021), arXiv:2011.09468: lambda/2 times the squared norm of the logits, a
    sum over samples as is its cross-entropy; here both are means.

    >>> float(SpectralDecoupling()(np.asarray([[1.0, -2.0], [0.0, 5.0]])))  # (5/2 + 25/2) / 2
    7.5
    """

    reduction: Literal["mean", "sum", "batch_mean"] = "batch_mean"

    def phi(self, xp: Any, x: Array) -> Array:
        return 0.5 * (x * x)

    def slope(self, xp: Any, x: Array) -> Array:
        return x

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(batch_axis=1), (3, 4, 2), mask_ndim=2)
        yield Example(cls(reduction="mean"), (3, 2))
