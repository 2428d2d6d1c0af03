"""Differences along a time axis: which of them count, and how a derivative by them becomes one by the sequence."""

import dataclasses
from typing import Any, ClassVar

from .counting import count, kept, positive_axis
from .penalty import Array, Shape
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
        axis = self.time_axis % len(x.shape)
        valid = None if mask is None else self._valid(xp, mask, axis, order)
        step = x
        for _ in range(order):
            step = step[_along(axis, slice(1, None))] - step[_along(axis, slice(None, -1))]
        return kept(xp, step, valid), self.share(xp, x, mask, step, valid)

    def step_share(self, xp: Any, x: Array, mask: Array, order: int = 1) -> "float | Array":
        """What each of the differences counts for."""
        axis = self.time_axis % len(x.shape)
        valid = None if mask is None else self._valid(xp, mask, axis, order)
        return self.share(xp, x, mask, x[_along(axis, slice(order, None))], valid)

    def _valid(self, xp: Any, mask: Array, axis: int, order: int) -> Array:
        """Where all steps of a difference are valid."""
        if len(mask.shape) <= axis:
            raise ValueError(
                f"{self} got a mask with {len(mask.shape)} axes, which does not reach the time axis; "
                f"pass one over the first {axis + 1} axes of x"
            )
        for _ in range(order):
            mask = xp.logical_and(mask[_along(axis, slice(1, None))], mask[_along(axis, slice(None, -1))])
        return mask

    def back(self, xp: Any, by_step: Array, x: Array, order: int = 1) -> Array:
        """The derivative by `x`, from that by its differences: the adjoint of the difference operator."""
        axis = self.time_axis % len(x.shape)
        steps = x.shape[axis]
        if steps is not None:
            return xp.concat([part for _, part in self.back_in_parts(xp, by_step, x, order)], axis=axis)
        edge = xp.zeros_like(x[_along(axis, slice(0, 1))])
        for _ in range(order):
            by_step = xp.concat([edge, by_step], axis=axis) - xp.concat([by_step, edge], axis=axis)
        # and at run time there may be fewer than `order`
        return by_step[_along(axis, slice(0, xp.astype(count(xp, x, [axis]), xp.int32)))]

    def back_in_parts(self, xp: Any, by_step: Array, x: Array, order: int) -> list[tuple[Any, Array]]:
        """The same for a known number of steps, as (index, what stands there) in the order of time."""
        axis = self.time_axis % len(x.shape)
        if x.shape[axis] <= order:
            return [(..., xp.zeros_like(x))]
        first, inner, last = _along(axis, slice(0, 1)), _along(axis, slice(1, -1)), _along(axis, slice(-1, None))
        later, earlier = _along(axis, slice(1, None)), _along(axis, slice(None, -1))
        parts: list[tuple[Any, Array]] = []
        for _ in range(order):
            if parts:
                by_step = xp.concat([part for _, part in parts], axis=axis)
            parts = [(first, -by_step[first]), (inner, by_step[earlier] - by_step[later]), (last, by_step[last])]
        return parts


def _along(axis: int, piece: slice) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, piece, ...)
