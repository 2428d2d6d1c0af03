"""Penalties on the variances and covariances of units over the batch."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from .. import blocks
from ..counting import count, expand
from ..moments import BatchMoments, centre, check_mask, moments, units_back, units_last
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..variances import OfVariances

__all__ = ["Covariance", "DeCov", "Variance"]

LEAST_EPS = 2.0**-126  # the smallest normal float32: below it a root of 0 + eps has no derivative there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variance(OfVariances):
    """`mean(relu(gamma - sqrt(var(x) + eps)))` over units: each keeps a standard deviation of at least `gamma`.

    The variance of each unit is taken over the batch, divided by n - `correction`, and the mean is over the units. It
    keeps embeddings from collapsing to a constant, and is 0 once every unit spreads enough. VICReg gives it to each of
    its two views, beside `Covariance`: in the paper 25 times the sum of both, in the authors' code half of that. Not
    for units that should be silent, as in a sparse code.

    Every axis that is not in `batch_axis` counts units; `batch_axis=(0, 1)` takes all tokens of (batch, time, feature)
    as samples. A mask covers leading batch axes. The derivative by x is
    -(x - mean) / ((n - correction) units sqrt(var + eps)) where gamma - sqrt(var + eps) > 0, and 0 elsewhere, the
    corner included: a unit of zero variance has gradient 0 and stays where it is. From 0 to gamma whatever x is.
    Unchanged by: order of samples, order of units, sign of x, a constant, a constant for each unit.

    Raises ValueError for n <= `correction`, where no variance exists (NaN if n is known only at run time), gamma <= 0,
    and eps < 2**-126.

    Source: A. Bardes, J. Ponce, Y. LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised
    learning", ICLR (2022), arXiv:2105.04906, with gamma 1, eps 1e-4 and correction 1; the term v(Z).

    >>> x = np.asarray([[0.0, 0.0], [0.5, 4.0], [1.0, 8.0]])  # standard deviations 1/2 and 4
    >>> round(float(Variance()(x)), 4)
    0.25
    """

    gamma: float = 1.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gamma > 0.0:
            raise ValueError(f"gamma={self.gamma}; expected a standard deviation above 0, such as 1")
        if not self.eps >= LEAST_EPS:
            raise ValueError(f"eps={self.eps}; expected at least 2**-126: the root of 0 + eps needs a derivative")

    def of_unit(self, xp: Any, variance: Array) -> tuple[Array, Array]:
        deviation = xp.sqrt(variance + self.eps)
        lack = self.gamma - deviation
        enough, nothing = lack <= 0, xp.zeros_like(lack)
        return xp.where(enough, nothing, lack), xp.where(enough, nothing, -0.5 / deviation)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(gamma=0.5, eps=0.01, correction=0), (6, 3))
        yield Example(cls(batch_axis=(0, 1)), (2, 3, 2), mask_ndim=2)
        yield Example(cls(batch_axis=-1), (3, 5))
        yield Example(cls(correction=0), (1, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OffDiagonal(BatchMoments):
    """The sum of the squared covariances of unlike units, times a number that depends on how many units there are."""

    @abc.abstractmethod
    def share(self, units: int) -> float:
        """What the square of each covariance counts for; each pair of units has two."""

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        self.check_units(shape, fewest=2)

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        _, pairs, _ = self._covariances(xp, x, mask, across)
        return xp.sum(pairs * pairs) * (2.0 * self.share(pairs.shape[0]))

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        samples, pairs, per_sample = self._covariances(xp, x, mask, across)
        scale = (4.0 * self.share(pairs.shape[0]) * across.size) * per_sample
        slope = xp.matmul(samples, (pairs + xp.matrix_transpose(pairs)) * scale)
        return units_back(xp, slope, x, self.batch(x.shape)), {}

    def one_pass(self, shape: Shape, across: Any) -> bool:
        return across is Alone and shape.count(None) < 2  # replicas would have to meet in every block

    def value_and_grad(
        self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone
    ) -> tuple[Array, Gradient]:
        samples = units_last(xp, x, self.batch(x.shape))
        value, slopes = self._both(xp, samples, x, mask, sloped=True)
        slope = blocks.joined(xp, [xp.matrix_transpose(some) for some in slopes], 1)
        slope = xp.reshape(slope, tuple(-1 if size is None else size for size in samples.shape))
        return value, (units_back(xp, slope, x, self.batch(x.shape)), {})

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self._both(xp, units_last(xp, x, self.batch(x.shape)), x, mask, sloped=False)[0]

    def _both(self, xp: Any, samples: Array, x: Array, mask: Array, *, sloped: bool) -> tuple[Array, list[Array]]:
        units, per_sample = self._centred_panels(xp, samples, x, mask)
        n, d = units[0].shape[1], samples.shape[-1]
        factor = (4.0 * self.share(d)) * per_sample
        if n is not None and 2 * n <= d:
            value, slopes = blocks.squares(xp, units, per_sample, factor, columns=True, sloped=sloped)
            return value * self.share(d), slopes
        value, slopes = blocks.over_pairs(xp, units, lambda p: _squares(xp, p * per_sample), sloped=sloped)
        return value * self.share(d), blocks.scaled(slopes, factor)

    def _centred_panels(self, xp: Any, samples: Array, x: Array, mask: Array) -> "tuple[list[Array], float | Array]":
        """Units in panels of rows, centred over the samples, and one over the divisor of covariances."""
        check_mask(self, self.batch(x.shape), mask)
        kept = mask if mask is None else _of_each_sample(xp, samples, mask)
        parts = blocks.panels(xp.reshape(samples, (-1, samples.shape[-1])), 1)
        n = count(xp, parts[0], (0,), kept)
        _, _, per_sample = moments(xp, parts[0][:, :1], (0,), self.correction, kept, Alone)
        return [xp.matrix_transpose(centre(xp, part, (0,), n, kept, Alone)) for part in parts], per_sample

    def _covariances(self, xp: Any, x: Array, mask: Array, across: Any) -> "tuple[Array, Array, float | Array]":
        """Centred samples, each pair's covariance once, above a zero diagonal, and one over their divisor."""
        centred, _, per_sample = self.moments(xp, x, mask, across)
        samples = units_last(xp, centred, self.batch(x.shape))
        matrix = xp.reshape(samples, (-1, samples.shape[-1]))
        products = across.sum(xp.matmul(xp.matrix_transpose(matrix), matrix))
        return samples, xp.triu(products, k=1) * per_sample, per_sample

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (3, 2, 2), mask_ndim=1)
        yield Example(cls(batch_axis=(0, -1), correction=0), (2, 3, 4), mask_ndim=1)
        yield Example(cls(batch_axis=(1, 0), correction=1), (3, 3, 3), mask_ndim=2)
        yield Example(cls(correction=0), (1, 3))
        yield Example(cls(), (2, 10))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Covariance(OffDiagonal):
    """`sum(cov(x_i, x_j)**2 for i != j) / units`: units that do not repeat each other.

    The covariances C are taken over the batch, divided by n - `correction`. VICReg gives each of its two views this
    penalty with the weight 1, beside `Variance`, which keeps it from shrinking the units instead. Not alone, and not
    without a normalisation: it scales as x**4.

    Every axis that is not in `batch_axis` counts units, of which there are d; `batch_axis=(0, 1)` takes all tokens of
    (batch, time, feature) as samples. A mask covers leading batch axes. The derivative by x is
    4 (x - mean) off(C) / ((n - correction) d), with off(C) the matrix without its diagonal. Memory: twice x, and
    n*n numbers where n <= d/2 and blocks of 1024*1024, or (d/16)**2 if more, otherwise; d*d on several replicas.
    Unchanged by: order of samples, order of units, sign of x, a constant, a constant for each unit.

    Raises ValueError for a single unit, n <= `correction` (NaN if n is known only at run time), and units of unknown
    size.

    Source: A. Bardes, J. Ponce, Y. LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised
    learning", ICLR (2022), arXiv:2105.04906, with correction 1; the term c(Z).

    >>> x = np.asarray([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])  # the covariance is 2
    >>> float(Covariance()(x))  # (2**2 + 2**2) / 2
    4.0
    """

    def share(self, units: int) -> float:
        return 1.0 / units


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeCov(OffDiagonal):
    """`sum(cov(x_i, x_j)**2 for i != j) / 2`: decorrelated hidden units, against overfitting.

    The covariances C are taken over the batch, divided by n - `correction`. A sum over all pairs of units: it grows
    with the square of their number d, and as x**4, so its weight depends on the layer; `Covariance` is 2/d of it.
    Not for units of very different scales: it looks at the large ones only.

    Every axis that is not in `batch_axis` counts units; a mask covers leading batch axes. The derivative by x is
    2 (x - mean) off(C) / (n - correction), with off(C) the matrix without its diagonal. Memory: twice x, and
    n*n numbers where n <= d/2 and blocks of 1024*1024, or (d/16)**2 if more, otherwise; d*d on several replicas.
    Unchanged by: order of samples, order of units, sign of x, a constant, a constant for each unit.

    Raises ValueError for a single unit, n <= `correction` (NaN if n is known only at run time), and units of unknown
    size.

    Source: M. Cogswell, F. Ahmed, R. Girshick, L. Zitnick, D. Batra, "Reducing overfitting in deep networks by
    decorrelating representations", ICLR (2016), arXiv:1511.06068, with correction 0.

    >>> x = np.asarray([[0.0, 0.0], [2.0, 4.0]])  # the covariance is 2
    >>> float(DeCov()(x)), float(DeCov(correction=1)(x))
    (4.0, 16.0)
    """

    correction: Literal[0, 1] = 0

    def share(self, units: int) -> float:
        return 0.5


def _squares(xp: Any, covariances: Array) -> tuple[Array, Array]:
    """Of a block above the diagonal, both ways; and their derivatives over 4, one way."""
    return 2.0 * xp.sum(covariances * covariances), covariances


def _of_each_sample(xp: Any, samples: Array, mask: Array) -> Array:
    """A mask over some batch axes as one over all of them, flattened."""
    none = xp.astype(xp.zeros_like(samples[..., 0]), mask.dtype)
    return xp.reshape(xp.logical_or(expand(mask, len(none.shape)), none), (-1,))
