"""Penalties on how active each unit is over a batch."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

from ..counting import kept
from ..kinks import sign
from ..penalty import Array, Example
from ..samples import OfUnits, Samples

__all__ = ["FLOPS", "DeadUnits", "FiringRateBand", "KLSparsity"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class KLSparsity(OfUnits):
    """`sum(rho * log(rho / rate) + (1 - rho) * log((1 - rho) / (1 - rate)))`, `rate = mean(sigmoid(x))`: KL sparsity.

    The divergence between coins: each unit should be on for the share `rho` of the samples. `x` are the
    pre-activations (logits), not the activations: these round to 1 in float32 for x > 17, and then 1 - rate and its
    logarithm are lost; from logits both logarithms are computed without leaving their domain. With s = sigmoid(x) the
    derivative is (rate - rho) / (rate (1 - rate)) s (1 - s) / n. Use it with sigmoid units; not with ReLU, whose mean
    is no probability: take `FiringRateBand`. In nats, from 0. As published it is summed over units; `reduction="mean"`
    makes it independent of their number. Shapes: any with a batch axis. A mask covers leading axes of the batch.
    Unchanged by: order of samples, order of units.

    Raises ValueError for a `rho` that is not between 0 and 1, and a mask over units.

    Source: A. Ng, "Sparse autoencoder", CS294A lecture notes, Stanford (2011).

    >>> float(KLSparsity(rho=0.5)(np.asarray([[0.0], [0.0]])))
    0.0
    >>> round(float(KLSparsity(rho=0.25)(np.asarray([[0.0], [0.0]]))), 4)  # log(1/2) / 4 + 3 log(3/2) / 4
    0.1308
    """

    reduction: Literal["mean", "sum"] = "sum"
    rho: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.rho < 1.0:
            raise ValueError(f"rho={self.rho}; it is the share of samples for which a unit is on, between 0 and 1")

    def of_units(self, xp: Any, samples: Samples) -> Array:
        log_on, _ = _log_mean(xp, samples, _log_sigmoid(xp, samples.x))
        log_off, _ = _log_mean(xp, samples, _log_sigmoid(xp, -samples.x))
        return self.rho * (math.log(self.rho) - log_on) + (1.0 - self.rho) * (math.log1p(-self.rho) - log_off)

    def by_entries(self, xp: Any, samples: Samples) -> Array:
        log_on, on = _log_mean(xp, samples, _log_sigmoid(xp, samples.x))
        _, off = _log_mean(xp, samples, _log_sigmoid(xp, -samples.x))
        return (xp.exp(log_on) - self.rho) * samples.n * (on * off)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(rho=0.5), (4, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FLOPS(OfUnits):
    """`sum(mean(abs(x), axis=batch)**2)`: FLOPS, the operations that a product of two sparse vectors takes.

    If unit j is not 0 in the share p_j of the samples, they are the sum of p_j**2; the mean of |x| stands in for p_j.
    The square makes it cheapest to spread what is active evenly over the units, which L1 does not see. The derivative
    is 2 mean|x_j| sign(x_nj) / n, 0 at 0. Use it on representations for retrieval by an inverted index; not on tiny
    batches, since it is a statistic of the batch. As published it is summed over units; `reduction="mean"` makes it
    independent of their number. Shapes: any with a batch axis. A mask covers leading axes of the batch. Scales as x**2.
    Unchanged by: order of samples, order of units, signs of entries.

    Raises ValueError for a mask over units.

    Source: B. Paria, C.-K. Yeh, I. E. H. Yen, N. Xu, P. Ravikumar, B. Poczos, "Minimizing FLOPs to learn efficient
    sparse representations", ICLR (2020), arXiv:2004.05665.

    >>> float(FLOPS()(np.asarray([[1.0, 0.0], [-1.0, 4.0]])))  # 1**2 + 2**2
    5.0
    """

    reduction: Literal["mean", "sum"] = "sum"

    def of_units(self, xp: Any, samples: Samples) -> Array:
        size = self._size(xp, samples)
        return size * size

    def by_entries(self, xp: Any, samples: Samples) -> Array:
        return (2.0 / samples.n) * self._size(xp, samples) * sign(xp, samples.x)

    @staticmethod
    def _size(xp: Any, samples: Samples) -> Array:
        return samples.mean(sign(xp, samples.x) * samples.x)  # and not abs, whose derivative at 0 is 1 in JAX


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiringRateBand(OfUnits):
    """`mean(relu(low - rate)**2 + relu(rate - high)**2)`, `rate = mean(x, axis=batch)`: firing rates within a band.

    No unit is silent, none is always on, and in between there is no pull. For spikes (batch, time, unit) take
    `batch_axis=(0, 1)`, and the rates are spikes per step; `low=0.0` switches the lower bound off, and `high=1.0` the
    upper one. The derivative is -2 relu(low - rate) / n or 2 relu(rate - high) / n, over the number of units. It
    reaches the weights through the surrogate gradient of the spikes; a ReLU that is always off gets none: take
    `DeadUnits` on what enters it. Shapes: any with a batch axis. A mask covers leading axes of the batch. Scales as
    x**2 with the bounds. Unchanged by: order of samples, order of units.

    Raises ValueError for low > high and a mask over units.

    Source: after B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg spiking data sets for the systematic
    evaluation of spiking neural networks", IEEE TNNLS 33 (2022), arXiv:1910.07407, which squares the same two hinges,
    for the spike count of each sample, and bounds the mean over the population from above; here both bound each unit.

    >>> x = np.asarray([[1.0, 0.0], [1.0, 0.0]])  # rates 1 and 0
    >>> float(FiringRateBand(low=0.25, high=0.5)(x))  # (1/4 + 1/16) / 2
    0.15625
    """

    low: float = 0.01
    high: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.high:
            raise ValueError(f"low={self.low} is above high={self.high}; no rate would be free of a penalty")

    def of_units(self, xp: Any, samples: Samples) -> Array:
        outside = self._outside(xp, samples)
        return outside * outside

    def by_entries(self, xp: Any, samples: Samples) -> Array:
        return (2.0 / samples.n) * self._outside(xp, samples) * xp.ones_like(samples.x)

    def _outside(self, xp: Any, samples: Samples) -> Array:
        """How far each rate is below (negative) or above the band."""
        rate = samples.mean(samples.x)
        none = xp.zeros_like(rate)
        return xp.where(rate >= self.low, none, rate - self.low) + xp.where(rate <= self.high, none, rate - self.high)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(low=-0.5, high=0.5), (4, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeadUnits(OfUnits):
    """`mean(relu(threshold - max(x, axis=batch))**2)`: every unit is on for some sample of the batch.

    It pulls up the largest pre-activation of a unit that is off, or nearly, for all samples, and leaves the others
    alone; at a threshold of 0 it would stop where a ReLU is still off. The derivative is -2 relu(threshold - max) over
    the number of units at the largest entry, split evenly between ties, and 0 elsewhere. Use it on what enters a ReLU,
    with large batches; not on what leaves it, where the gradient of a dead unit ends, nor for units that should be on
    less than once in a batch. Shapes: any with a batch axis. A mask covers leading axes of the batch. Scales as x**2
    with the threshold.
    Unchanged by: order of samples, order of units.

    Raises ValueError for a mask over units.

    Source: ours; we know of none that has this formula. Closest is the pre-activation loss of T. Conerly, H.
    Cunningham, A. Templeton, J. Lindsey, B. Hosmer, A. Jermyn, "Dictionary learning optimization techniques", Circuits
    Updates, January 2025, a hinge of every pre-activation below the threshold and not of the largest.

    >>> x = np.asarray([[-1.0, 3.0], [0.0, -5.0]])
    >>> float(DeadUnits(threshold=0.5)(x))  # (1/4 + 0) / 2
    0.125
    """

    threshold: float = 0.1

    def of_units(self, xp: Any, samples: Samples) -> Array:
        below = self._below(xp, samples.max(samples.x))
        return below * below

    def by_entries(self, xp: Any, samples: Samples) -> Array:
        largest = samples.max(samples.x)
        one, none = xp.ones_like(samples.x), xp.zeros_like(samples.x)
        ties = xp.where(samples.x < largest, none, one)  # of NaN every entry is one
        return 2.0 * self._below(xp, largest) * (ties / samples.sum(ties))

    def _below(self, xp: Any, largest: Array) -> Array:
        """The largest entry less the threshold, 0 if it reaches it."""
        return xp.where(largest >= self.threshold, xp.zeros_like(largest), largest - self.threshold)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(threshold=1.5), (4, 3))


def _log_sigmoid(xp: Any, x: Array) -> Array:
    """log(sigmoid(x)) for any finite x, with the right derivatives at 0."""
    negative, none = x < 0, 0.0 * x
    return xp.where(negative, x, none) - xp.log1p(xp.exp(xp.where(negative, x, -x)))


def _log_mean(xp: Any, samples: Samples, log_p: Array) -> tuple[Array, Array]:
    """The logarithm of the mean of p over samples, and p over its sum, from log(p)."""
    top = samples.max(log_p)
    part = xp.exp(kept(xp, log_p - top, samples.mask))
    total = samples.sum(part)
    return top + xp.log(total / samples.n), part / total
