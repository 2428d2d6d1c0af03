"""Penalties on the directions of vectors, such as the rows of a dictionary."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..counting import positive_axis
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape

__all__ = ["Orthogonality"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orthogonality(Penalty):
    """`mean(abs(cos(x_i, x_j))**power for i != j)` over the vectors along `vector_axis`, for `power` 1 or 2.

    Both are 0 for orthogonal vectors and 1 for parallel ones, of either sign. Choose by the shape of the dictionary:
    with more vectors than dimensions `power=1` is smallest when vectors come in equal or opposite twins, so it
    collapses the dictionary; `power=2`, the frame potential, spreads them, down to (m - d)/(d (m - 1)) for m vectors in
    d dimensions.

    Shapes: two axes or more, known beforehand; `vector_axis` counts the m vectors, the other axes are flattened to
    their d entries. With unit vectors u and the matrix G of derivatives by the cosines the gradient is that of the
    directions, (G u - (G u . u) u)/|x|, always tangential. A zero vector has cosine 0 to all and gradient 0; so has
    |cos| at 0. Unchanged by the length and the sign of each vector and by permutations. Matrix products are full
    float32 in JAX and follow torch.backends and tf.config in the others. Memory: m*m numbers.

    Raises ValueError for one axis, unknown sizes, or a single vector.

    Source: the frame potential of J. J. Benedetto, M. Fickus, "Finite normalized tight frames", Adv. Comput. Math. 18
    (2003), for power=2; for power=1 the orthogonality regularizer of Keras, which has the same mean.

    >>> x = np.asarray([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])  # cosines .7071, .7071 and 0
    >>> round(float(Orthogonality(power=1)(x)), 4), round(float(Orthogonality(power=2)(x)), 4)
    (0.4714, 0.3333)
    """

    power: int = 2
    vector_axis: int = 0

    def __post_init__(self) -> None:
        if self.power not in (1, 2):
            raise ValueError(f"power={self.power}; the mean is of |cos| for power=1 and of cos**2 for power=2")

    def check(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise ValueError(
                f"{self} got shape {shape}; it compares vectors, so it needs an array with two axes or more"
            )
        axis = positive_axis("vector_axis", self.vector_axis, len(shape))
        if None in shape:
            raise ValueError(f"{self} got shape {shape}; all sizes must be known: give the input a fixed shape")
        if shape[axis] == 1:
            raise ValueError(f"{self} got shape {shape}, a single vector; it compares pairs, so it needs two or more")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        unit, _ = self._directions(xp, self._rows(xp, x))
        cosine = _upper(xp, unit)
        m = unit.shape[0]
        return xp.sum(xp.abs(cosine) if self.power == 1 else cosine * cosine) * (2.0 / (m * (m - 1)))

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        unit, per_length = self._directions(xp, self._rows(xp, x))
        cosine = _upper(xp, unit)
        m = unit.shape[0]
        slope = (sign(xp, cosine) if self.power == 1 else 2.0 * cosine) * (2.0 / (m * (m - 1)))
        by_unit = xp.matmul(slope + xp.matrix_transpose(slope), unit)
        radial = xp.sum(by_unit * unit, axis=1, keepdims=True)
        return self._unrows(xp, (by_unit - radial * unit) * per_length, x), {}

    def _rows(self, xp: Any, x: Array) -> Array:
        order = self._order(len(x.shape))
        return xp.reshape(xp.permute_dims(x, order), (x.shape[order[0]], -1))

    def _unrows(self, xp: Any, rows: Array, x: Array) -> Array:
        order = self._order(len(x.shape))
        back = tuple(order.index(axis) for axis in range(len(order)))
        return xp.permute_dims(xp.reshape(rows, tuple(x.shape[axis] for axis in order)), back)

    def _order(self, ndim: int) -> tuple[int, ...]:
        first = self.vector_axis % ndim
        return (first, *(axis for axis in range(ndim) if axis != first))

    @staticmethod
    def _directions(xp: Any, rows: Array) -> tuple[Array, Array]:
        """Unit rows and one over their lengths, both 0 for a zero row; scaled by the largest entry against overflow."""
        largest = xp.max(xp.abs(rows), axis=1, keepdims=True)
        zero = largest == 0
        scale = xp.where(zero, xp.ones_like(largest), largest)
        scaled = rows / scale
        square = xp.sum(scaled * scaled, axis=1, keepdims=True)
        length = xp.sqrt(xp.where(zero, xp.ones_like(square), square))
        return scaled / length, xp.where(zero, xp.zeros_like(length), 1.0 / length / scale)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for power in (1, 2):
            yield Example(cls(power=power), (4, 3))
            yield Example(cls(power=power, vector_axis=1), (3, 5))
            yield Example(cls(power=power, vector_axis=-1), (2, 2, 3))
        yield Example(cls(), (2, 1))


def _upper(xp: Any, unit: Array) -> Array:
    """Each pair's cosine once, above a zero diagonal."""
    return xp.triu(xp.matmul(unit, xp.matrix_transpose(unit)), k=1)
