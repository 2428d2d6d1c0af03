"""Penalties on change along a time axis."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..counting import sum_of_squares
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..pieces import Entries, Parts
from ..stepping import Stepped, along

__all__ = ["TAR"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TAR(Stepped):
    """`mean((x[:, 1:] - x[:, :-1])**2)`: temporal activation regularization, slow change along `time_axis`.

    The mean is over the differences. `order=2` takes the differences of differences, x_(t+1) - 2 x_t + x_(t-1), which
    are 0 for a constant speed, and so on. With D the differences of the given order, 0 beyond both ends, and n of them,
    the derivative is (2/n) times the adjoint of the difference operator on D: for order 1 that is
    (2/n) (D_t - D_(t+1)). Use `order=1` where states should be slow and higher ones where they should be smooth; not on
    the cell state of an LSTM, and not across the border between two sequences.

    Shapes: any with a time axis; (batch, time, feature) by default, and `time_axis=0, batch_axis=1` for the time-first
    layout of torch.nn.LSTM. A mask over leading axes, which must include time, counts a difference where all of its
    steps are valid. Where nothing is left to compare (`order` time steps or fewer, no valid pair) value and gradient
    are 0. Published use: `1.0 * TAR()` on the raw output of the last recurrent layer. Scales as x**2.
    Unchanged by: order of samples, order of units, sign of each row, a constant for each unit, a constant for each
    sample, reversal of time, rotation of units, rotation of samples.

    Raises ValueError if `x` has no such axis, the mask does not reach it, or it is the batch axis of a batch mean.

    Source: S. Merity, B. McCann, R. Socher, "Revisiting activation regularization for language RNNs" (2017),
    arXiv:1708.01009, where the formula is a norm; all code by the authors takes the mean of squares, as here.

    >>> x = np.asarray([[[1.0], [2.0], [4.0]]])  # steps of 1 and 2
    >>> float(TAR()(x)), float(TAR(order=2)(x)), float(TAR()(x, mask=np.asarray([[True, True, False]])))
    (2.5, 1.0, 1.0)
    """

    order: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order < 1:
            raise ValueError(f"order={self.order}; differences have an order of 1 or more: for order 0 use AR()")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        step, share = self.steps(xp, x, mask, self.order)
        return xp.sum(step * step) * share

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        step, share = self.steps(xp, x, mask, self.order)
        return self.back(xp, (2.0 * share) * step, x, self.order), {}

    def apart(self, shape: Shape, across: Any) -> Parts:
        reaches = (self.time_axis % len(shape), self.order)
        every = tuple(range(len(shape)))
        return Parts(every, self._total, self._by_entries, self._outer, self._both, reaches=reaches)

    def _total(self, xp: Any, x: Array, mask: Array, own: slice) -> Array:
        step, _ = self.differences(xp, x, mask, self.order)
        return self._sum(xp, step, own)

    def _by_entries(self, xp: Any, x: Array, mask: Array, own: slice) -> Entries:
        step, _ = self.differences(xp, x, mask, self.order)
        return self.back_in_parts(xp, step, x, self.order, own)

    def _both(self, xp: Any, x: Array, mask: Array, own: slice) -> tuple[Array, Entries]:
        step, _ = self.differences(xp, x, mask, self.order)
        return self._sum(xp, step, own), self.back_in_parts(xp, step, x, self.order, own)

    def _sum(self, xp: Any, step: Array, own: slice) -> Array:
        if own.start:
            step = step[along(self.time_axis % len(step.shape), own)]
        return sum_of_squares(xp, step)

    def _outer(self, xp: Any, total: Array, x: Array, params: Params, mask: Array) -> Any:
        share = self.step_share(xp, x, mask, self.order)
        return total * share, 2.0 * share, {}

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (2, 5, 3))
        yield Example(cls(), (2, 5, 3), mask_ndim=2)
        yield Example(cls(time_axis=0, reduction="batch_mean", batch_axis=1), (5, 2, 3))
        yield Example(cls(time_axis=0), (5, 2, 3), mask_ndim=1)
        yield Example(cls(time_axis=-1, reduction="sum"), (2, 3, 4))
        yield Example(cls(order=2), (2, 5, 2))
        yield Example(cls(order=3, reduction="batch_mean"), (2, 5, 2), mask_ndim=2)
        yield Example(cls(order=2), (2, 2, 3))
        yield Example(cls(), (2, 1, 3))
        yield Example(cls(), (3, 2))
