"""Statistics over a batch: which axes count samples, and units centred over them in two passes."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .counting import count, expand, kept, positive_axis
from .penalty import Penalty

if TYPE_CHECKING:
    from .penalty import Array, Shape

Axes = tuple[int, ...]


def batch_axes(batch_axis: int | Axes, ndim: int) -> Axes:
    """The axes that count samples, from the front and in order; ValueError if there is no such axis."""
    axes = batch_axis if isinstance(batch_axis, tuple) else (batch_axis,)
    return tuple(sorted(positive_axis("batch_axis", axis, ndim) for axis in axes))


def units_of(shape: "Shape", batch: Axes) -> Axes:
    """The axes that count units."""
    return tuple(axis for axis in range(len(shape)) if axis not in batch)


def check_batch(spec: Penalty, shape: "Shape", batch: Axes, fewest: int) -> None:
    """ValueError for fewer samples than that, where their number is known, and for an axis that is named twice."""
    if not batch or len(set(batch)) < len(batch):
        raise ValueError(
            f"{spec} has the batch axes {batch} in an array with {len(shape)}; name one or more, each once"
        )
    sizes = [shape[axis] for axis in batch]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes) and math.prod(known) < fewest:
        raise ValueError(
            f"{spec} got shape {shape}, a batch of {math.prod(known)}; its variance needs at least {fewest}: "
            "use larger batches, more batch axes or correction=0"
        )


def check_mask(spec: Penalty, batch: Axes, mask: "Array") -> None:
    """ValueError for a mask over an axis that counts no samples."""
    if mask is not None and batch[: len(mask.shape)] != tuple(range(len(mask.shape))):
        raise ValueError(
            f"{spec} got a mask over {len(mask.shape)} leading axes; it counts samples, so they must all be batch "
            "axes: pass a shorter mask, or more axes in batch_axis"
        )


def moments(
    xp: Any, x: "Array", batch: Axes, correction: int, mask: "Array", across: Any
) -> "tuple[Array, Array, float | Array]":
    """Centred x, the variance of each unit, and one over the divisor of that variance, which is inf for none."""
    n = across.sum(count(xp, x, batch, mask))
    centred = centre(xp, x, batch, n, mask, across)
    freedom = n - correction
    if not isinstance(n, int):
        freedom = xp.where(freedom <= 0, xp.zeros_like(freedom), freedom)  # 0/0 is NaN
    per_sample = 1.0 / freedom
    return centred, across.sum(xp.sum(centred * centred, axis=batch, keepdims=True)) * per_sample, per_sample


def centre(xp: Any, x: "Array", batch: Axes, n: "int | Array", mask: "Array", across: Any) -> "Array":
    """x minus the mean over the n samples, and 0 where a mask hides it."""
    # A sample goes first and then the mean, because a compiler that fuses multiplication and subtraction would not
    # get 0 for a constant unit from x - sum(x) * (1/n). A division is not fused.
    centred = x - across.sum(_sample(xp, x, batch, mask)) * (1.0 / across.size)
    total = across.sum(xp.sum(kept(xp, centred, mask), axis=batch, keepdims=True))
    return kept(xp, centred - (total * (1.0 / n) if isinstance(n, int) else total / n), mask)


def _sample(xp: Any, x: "Array", batch: Axes, mask: "Array") -> "Array":
    """One of the samples of each unit: the first, or the largest that the mask lets through, or 0 if it hides all."""
    if mask is None:
        return first_sample(x, batch)
    lowest = xp.where(expand(mask, len(x.shape)), x, -math.inf * xp.ones_like(x))
    largest = xp.max(lowest, axis=batch, keepdims=True)
    return xp.where(largest == -math.inf, xp.zeros_like(largest), largest)  # another replica may have samples


def first_sample(x: "Array", batch: Axes) -> "Array":
    """The first of the samples of each unit, a view."""
    return x[tuple([slice(0, 1) if axis in batch else slice(None) for axis in range(len(x.shape))])]


def units_last(xp: Any, x: "Array", batch: Axes) -> "Array":
    """The samples of `batch` along all axes but the last, which holds their units."""
    order, sizes = _layout(x, batch)
    moved = xp.permute_dims(x, order)
    return moved if len(order) == len(batch) + 1 else xp.reshape(moved, (*sizes[: len(batch)], _product(x, batch)))


def units_back(xp: Any, samples: "Array", x: "Array", batch: Axes) -> "Array":
    """The inverse of `units_last`, in the shape of `x`."""
    order, sizes = _layout(x, batch)
    moved = samples if len(order) == len(batch) + 1 else xp.reshape(samples, sizes)
    return xp.permute_dims(moved, tuple(order.index(axis) for axis in range(len(order))))


def _layout(x: "Array", batch: Axes) -> tuple[Axes, Axes]:
    """Batch axes first, and the sizes in that order, with -1 for one that is not known yet."""
    order = (*batch, *(axis for axis in range(len(x.shape)) if axis not in batch))
    return order, tuple(-1 if x.shape[axis] is None else x.shape[axis] for axis in order)


def _product(x: "Array", batch: Axes) -> int:
    return math.prod([size for axis, size in enumerate(x.shape) if axis not in batch])


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchStatistic(Penalty):
    """A statistic over the samples along `batch_axis`, one axis or several; every other axis counts units."""

    additive: ClassVar[bool] = False
    maskable: ClassVar[bool] = True

    batch_axis: int | tuple[int, ...] = 0

    def check(self, shape: "Shape", **inputs: "Shape") -> None:
        check_batch(self, shape, self.batch(shape), 1)

    def batch(self, shape: "Shape") -> Axes:
        """The axes that count samples."""
        return batch_axes(self.batch_axis, len(shape))

    def check_units(self, shape: "Shape", fewest: int = 1) -> None:
        """ValueError for a matrix of units against units that cannot be made: of unknown size, or of too few."""
        batch = self.batch(shape)
        units = [size for axis, size in enumerate(shape) if axis not in batch]
        known = [size for size in units if size is not None]
        if len(known) < len(units) or (len(units) != 1 and shape.count(None) > 1):
            raise ValueError(f"{self} got shape {shape}; units must have known sizes: give the input a fixed shape")
        if math.prod(known) < fewest:
            raise ValueError(f"{self} got shape {shape}, a single unit; it compares units, so it needs two or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchMoments(BatchStatistic):
    """A function of second moments, which are sums over the samples divided by their number minus `correction`."""

    correction: Literal[0, 1] = 1

    def check(self, shape: "Shape", **inputs: "Shape") -> None:
        check_batch(self, shape, self.batch(shape), self.correction + 1)

    def moments(self, xp: Any, x: "Array", mask: "Array", across: Any) -> "tuple[Array, Array, float | Array]":
        """Centred x, the variance of each unit, and one over the divisor of that variance."""
        batch = self.batch(x.shape)
        check_mask(self, batch, mask)
        return moments(xp, x, batch, self.correction, mask, across)
