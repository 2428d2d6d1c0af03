"""Statistics of each unit over the samples of a batch, and the penalties that are functions of them."""

import abc
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

from .counting import count, expand, kept
from .moments import BatchStatistic, check_mask, units_of
from .penalty import Alone, Array, Example, Gradient, Params, Shape
from .pieces import Parts


@dataclasses.dataclass
class Samples:
    """The samples of a batch on all replicas, of which a mask lets some through: at least one, or `some` is 0.

    If it lets none through, it lets through all, as zeros, so that everything is finite until `some` takes it away.
    """

    xp: Any
    x: Array
    axes: tuple[int, ...]
    mask: Array
    across: Any
    n: "int | Array" = 0
    some: "float | Array" = 1.0

    def __post_init__(self) -> None:
        self.x = kept(self.xp, self.x, self.mask)
        self.n = self.across.sum(count(self.xp, self.x, self.axes, self.mask))
        if self.mask is not None:
            one, zero = self.xp.ones_like(self.n), self.xp.zeros_like(self.n)
            self.mask = self.xp.logical_or(self.mask, self.n == 0)
            self.some = self.xp.where(self.n == 0, zero, one)
            self.n = self.xp.where(self.n == 0, one, self.n)
        elif not isinstance(self.n, int):
            self.some = self.n / self.n  # NaN for an empty batch

    def sum(self, array: Array) -> Array:
        return self.across.sum(self.xp.sum(kept(self.xp, array, self.mask), axis=self.axes, keepdims=True))

    def mean(self, array: Array) -> Array:
        return self.sum(array) * (1.0 / self.n)

    def max(self, array: Array) -> Array:
        if self.mask is not None:
            lowest = -math.inf * self.xp.ones_like(array)
            array = self.xp.where(expand(self.mask, len(array.shape)), array, lowest)
        return self.across.max(self.xp.max(array, axis=self.axes, keepdims=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfUnits(BatchStatistic):
    """The sum or the mean over units of a function of the samples of each; 0 where a mask counts no sample.

    A mask covers leading axes, all of them batch axes.
    """

    reduction: Literal["mean", "sum"] = "mean"

    @abc.abstractmethod
    def of_units(self, xp: Any, samples: Samples) -> Array:
        """The penalty of each unit."""

    @abc.abstractmethod
    def by_entries(self, xp: Any, samples: Samples) -> Array:
        """The derivative of the penalty of its unit by each entry."""

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self._total(xp, x, mask, across) * self._share(xp, x)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        return self._by_entries(xp, x, mask, across, self._share(xp, x) * across.size), {}

    def apart(self, shape: Shape, across: Any) -> Parts | None:
        if across is not Alone:
            return None
        return Parts(units_of(shape, self.batch(shape)), self._total, self._by_entries, self._outer)

    def _outer(self, xp: Any, total: Array, x: Array, params: Params, mask: Array) -> Any:
        share = self._share(xp, x)
        return total * share, share, {}

    def _total(self, xp: Any, x: Array, mask: Array, across: Any = Alone) -> Array:
        samples = self._samples(xp, x, mask, across)
        return xp.sum(self.of_units(xp, samples)) * samples.some

    def _by_entries(self, xp: Any, x: Array, mask: Array, across: Any = Alone, share: "float | Array" = 1.0) -> Array:
        samples = self._samples(xp, x, mask, across)
        return kept(xp, self.by_entries(xp, samples) * (samples.some * share), mask)

    def _samples(self, xp: Any, x: Array, mask: Array, across: Any) -> Samples:
        batch = self.batch(x.shape)
        check_mask(self, batch, mask)
        return Samples(xp, x, batch, mask, across)

    def _share(self, xp: Any, x: Array) -> "float | Array":
        return 1.0 if self.reduction == "sum" else 1.0 / count(xp, x, units_of(x.shape, self.batch(x.shape)))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(batch_axis=(0, 1), reduction="sum"), (2, 3, 2), mask_ndim=2)
        yield Example(cls(batch_axis=-1, reduction="mean"), (2, 2, 3))
        yield Example(cls(), (1, 1))
