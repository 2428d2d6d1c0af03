"""Penalties on change along a time axis."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from ..counting import count, kept, positive_axis, reciprocal
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape

__all__ = ["TAR"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TAR(Penalty):
    """`mean((x[:, 1:] - x[:, :-1])**2)`: temporal activation regularization, slow change along `time_axis`.

    With D_t = x_t - x_(t-1), D = 0 beyond both ends, and n differences, the derivative is (2/n) (D_t - D_(t+1)).
    Shapes: any with a time axis; (batch, time, feature) by default, and `time_axis=0` for the time-first layout of
    torch.nn.LSTM. A mask over leading axes, which must include time, counts a difference where both of its steps are
    valid. Where nothing is left to compare (one time step, no valid pair) value and gradient are 0. Unchanged by adding
    a constant sequence; scales as x**2. Published use: `1.0 * TAR()` on the raw output of the last recurrent layer.

    Raises ValueError if `x` has no such axis, or the mask does not reach it.

    Source: S. Merity, B. McCann, R. Socher, "Revisiting activation regularization for language RNNs" (2017),
    arXiv:1708.01009, where the formula is a norm; all code by the authors takes the mean of squares, as here.

    >>> x = np.asarray([[[1.0], [2.0], [4.0]]])  # steps of 1 and 2
    >>> float(TAR()(x)), float(TAR()(x, mask=np.asarray([[True, True, False]])))
    (2.5, 1.0)
    """

    maskable: ClassVar[bool] = True

    time_axis: int = 1

    def check(self, shape: Shape) -> None:
        positive_axis("time_axis", self.time_axis, len(shape))

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        step, per_entry = self._steps(xp, x, mask)
        return xp.sum(step * step) * per_entry

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        step, per_entry = self._steps(xp, x, mask)
        axis = self.time_axis % len(x.shape)
        edge = xp.zeros_like(x[_along(axis, slice(0, 1))])
        difference = xp.concat([edge, step], axis=axis) - xp.concat([step, edge], axis=axis)
        return 2.0 * difference * per_entry, {}

    def _steps(self, xp: Any, x: Array, mask: Array) -> "tuple[Array, float | Array]":
        """Differences, 0 where one of the two steps is masked, and one over how many there are."""
        axis = self.time_axis % len(x.shape)
        later, earlier = _along(axis, slice(1, None)), _along(axis, slice(None, -1))
        step = x[later] - x[earlier]
        if mask is not None:
            if len(mask.shape) <= axis:
                raise ValueError(
                    f"{self} got a mask with {len(mask.shape)} axes, which does not reach the time axis; "
                    f"pass one over the first {axis + 1} axes of x"
                )
            mask = xp.logical_and(mask[later], mask[earlier])
        step = kept(xp, step, mask)
        return step, reciprocal(xp, count(xp, step, range(len(x.shape)), mask))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (2, 5, 3))
        yield Example(cls(), (2, 5, 3), mask_ndim=2)
        yield Example(cls(time_axis=0), (5, 2, 3))
        yield Example(cls(time_axis=0), (5, 2, 3), mask_ndim=1)
        yield Example(cls(time_axis=-1), (2, 3, 4))
        yield Example(cls(), (2, 1, 3))
        yield Example(cls(), (3, 2))


def _along(axis: int, piece: slice) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, piece, ...)
