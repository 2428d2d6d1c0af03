"""Differences along a time axis: which of them count, and how a derivative by them becomes one by the sequence."""

import dataclasses
from typing import Any, ClassVar

from .counting import count, kept, positive_axis
from .penalty import Array, Shape
from .pieces import Difference
from .reduction import Reduced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stepped(Reduced):
    """A penalty on differences along `time_axis`. A mask counts a difference where all of its steps are valid."""

    maskable: ClassVar[bool] = True

    time_axis: int = 1

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        time = positive_axis("time_axis", self.time_axis, len(shape))
        if self.reduction == "batch_mean" and time == self.batch_axis % len(shape):
            raise ValueError(f"{self} has axis {time} for both time and batch; name the batch axis: batch_axis=...")

    def steps(self, xp: Any, x: Array, mask: Array, order: int = 1) -> "tuple[Array, float | Array]":
        """Differences of the given order, 0 where one of their steps is masked, and what each counts for."""
        step, valid = self.differences(xp, x, mask, order)
        return step, self.share(xp, x, mask, step, valid)

    def differences(self, xp: Any, x: Array, mask: Array, order: int) -> tuple[Array, Array]:
        """The same differences, and where all of their steps are valid, if there is a mask."""
        axis = self.time_axis % len(x.shape)
        valid = None if mask is None else self._valid(xp, mask, axis, order)
        step, later, earlier = x, along(axis, slice(1, None)), along(axis, slice(None, -1))
        for _ in range(order):
            step = step[later] - step[earlier]
        return kept(xp, step, valid), valid

    def step_share(self, xp: Any, x: Array, mask: Array, order: int = 1) -> "float | Array":
        """What each of the differences counts for."""
        axis = self.time_axis % len(x.shape)
        valid = None if mask is None else self._valid(xp, mask, axis, order)
        return self.share(xp, x, mask, x[along(axis, slice(order, None))], valid)

    def _valid(self, xp: Any, mask: Array, axis: int, order: int) -> Array:
        """Where all steps of a difference are valid."""
        if len(mask.shape) <= axis:
            raise ValueError(
                f"{self} got a mask with {len(mask.shape)} axes, which does not reach the time axis; "
                f"pass one over the first {axis + 1} axes of x"
            )
        for _ in range(order):
            mask = xp.logical_and(mask[along(axis, slice(1, None))], mask[along(axis, slice(None, -1))])
        return mask

    def back(self, xp: Any, by_step: Array, x: Array, order: int = 1) -> Array:
        """The derivative by `x`, from that by its differences: the adjoint of the difference operator."""
        axis = self.time_axis % len(x.shape)
        steps = x.shape[axis]
        if steps is not None:
            return _joined(xp, self.back_in_parts(xp, by_step, x, order), axis)
        edge = xp.zeros_like(x[along(axis, slice(0, 1))])
        for _ in range(order):
            by_step = xp.concat([edge, by_step], axis=axis) - xp.concat([by_step, edge], axis=axis)
        # and at run time there may be fewer than `order`
        return by_step[along(axis, slice(0, xp.astype(count(xp, x, [axis]), xp.int32)))]

    def back_in_parts(
        self, xp: Any, by_step: Array, x: Array, order: int, own: slice | None = None
    ) -> list[tuple[Any, Array]]:
        """The same for a known number of steps, as (index, what stands there) in the order of time.

        Of the steps in `own` alone, if it is given; the index then counts from its start.
        """
        axis = self.time_axis % len(x.shape)
        if x.shape[axis] <= order:
            return [(..., xp.zeros_like(x if own is None else x[along(axis, own)]))]
        for _ in range(order - 1):
            by_step = _joined(xp, _differences(by_step, axis), axis)
        return _differences(by_step, axis, own)


def _differences(by_step: Array, axis: int, own: slice | None = None) -> list[tuple[Any, Array]]:
    """The one before less each, with 0 before the first and after the last; of those in `own`, if it is given."""
    length = by_step.shape[axis]
    start, stop, _ = (0, length + 1, 1) if own is None else own.indices(length + 1)
    low, high = (1, length) if own is None else (max(start, 1), min(stop, length))
    earlier, each = along(axis, slice(low - 1, high - 1)), along(axis, slice(low, high))
    inner = Difference(by_step[earlier], by_step[each])
    parts: list[tuple[Any, Any]] = [(along(axis, slice(low - start, high - start)), inner)]
    if own is None or start == 0:
        first = along(axis, slice(0, 1))
        parts.insert(0, (first, -by_step[first]))
    if own is None or stop > length:
        parts.append((along(axis, slice(length - start, None)), by_step[along(axis, slice(-1, None))]))
    return parts


def _joined(xp: Any, parts: list[tuple[Any, Any]], axis: int) -> Array:
    arrays = [part.minuend - part.subtrahend if isinstance(part, Difference) else part for _, part in parts]
    return xp.concat(arrays, axis=axis)


def along(axis: int, piece: slice) -> tuple[Any, ...]:
    """An index of that slice of an axis, and of all others whole."""
    return (*(slice(None),) * axis, piece, ...)
