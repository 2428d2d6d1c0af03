"""Penalties on the nearest of some vectors, and on the direction that all share; their lengths do not matter."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from .. import blocks, nearest
from ..angular import Angular
from ..penalty import Array, Example, Params, Shape
from ..precision import bfloat16
from ..vectors import matrix_shape, upper_products

__all__ = ["MaxCosine", "MeanCosine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxCosine(Angular):
    """`mean(max(cos(x_i, x_j)**2 for j != i) for i)` over the vectors along `vector_axis`.

    Each vector is pushed away from its nearest one only, which breaks up twins and leaves the rest alone: the form to
    use for overcomplete dictionaries. `signed=True` looks at positive cosines only, so that vectors may be opposite.
    A maximum that several vectors attain is shared evenly by them; where m > 1024 and they are more than two, by the
    first and the last. `welch=True` subtracts (m - d)/(d (m - 1)), which no
    m vectors in d < m dimensions can go below. Gradients reach few pairs in a step; for a smooth alternative see
    `Orthogonality(power=4)`.

    `search="bfloat16"` looks for the nearest one in products of bfloat16, at any m, and takes value and gradient from
    the pairs it finds, in the precision of x. A nearest one may be missed for another that is nearly as near: the value
    is then a little too small, by less than 2e-3 of it on random vectors (tests/test_blocks.py), and a tie goes to one.

    Shapes and zero vectors as in `Orthogonality`. The gradient by a cosine is 2 cos/m, shared at ties. Memory: three
    times x and a few blocks of 1024*1024 numbers, or of (m/16)**2 where that is more; m*m where m <= 1024.
    Unchanged by: order of samples, length of each row, sign of each row, order of units, rotation of units. Where
    `signed=True`, signs count.

    Raises ValueError for one axis, unknown sizes, or a single vector, and TypeError for a search in bfloat16 in a
    library without it, such as NumPy.

    Source: A. Korznikov et al., "OrtSAE: orthogonal sparse autoencoders uncover atomic features" (2025),
    arXiv:2509.22033, which takes the maximum over a random chunk of the dictionary; here it is over all of it.

    >>> x = np.asarray([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])  # each has one at an angle of 45 degrees
    >>> round(float(MaxCosine()(x)), 4)
    0.5
    """

    signed: bool = False
    welch: bool = False
    search: Literal["float32", "bfloat16"] = "float32"

    def of_units(self, xp: Any, unit: Array, params: Params) -> Array:
        _, square = self._squares(xp, unit)
        return xp.sum(xp.max(square, axis=1)) * (1.0 / unit.shape[0]) - self._least(*unit.shape)

    def by_units(self, xp: Any, unit: Array, params: Params) -> Array:
        cosine, square = self._squares(xp, unit)
        nearest = square == xp.max(square, axis=1, keepdims=True)
        share = xp.where(nearest, xp.ones_like(square), square - square)  # NaN stays NaN
        share = share * (1.0 / xp.sum(share, axis=1, keepdims=True))
        if self.signed:
            cosine = xp.where(cosine <= 0, xp.zeros_like(cosine), cosine)
        slope = (2.0 / unit.shape[0]) * (share * cosine)
        return xp.matmul(slope + xp.matrix_transpose(slope), unit)

    def one_pass(self, shape: Shape, across: Any) -> bool:
        return matrix_shape(shape, self.vector_axis)[0] > blocks.ROWS or self.search != "float32"

    def both_of_units(self, xp: Any, units: list[Array], params: Params, *, sloped: bool) -> tuple[Array, list[Array]]:
        unit = blocks.joined(xp, units, 0)
        units[:] = blocks.panels(unit, 0)
        m, d = unit.shape
        ties = self.search == "float32"
        found = nearest.nearest(xp, self._searched(xp, units), signed=self.signed, ties=ties)
        places = [blocks.joined(xp, [of[k] for of in found], 0) for k in range(len(found[0]))]
        cosines = [self._cosines(xp, units, unit, [of[k] for of in found]) for k in range(len(found[0]))]
        share = 1.0 / (m * len(places))
        value = sum([xp.sum(cosine * cosine) for cosine in cosines], start=0.0) * share - self._least(m, d)
        if not sloped:
            return value, []
        shares = [cosine * (2.0 * share) + (value - value) for cosine in cosines]  # NaN reaches all
        slopes = [nearest.both_ways(xp, part, places, shares) for part in blocks.panels(unit, 1, 64)]
        return value, blocks.panels(blocks.joined(xp, slopes, 1), 0)

    def _cosines(self, xp: Any, units: list[Array], unit: Array, places: list[Array]) -> Array:
        """Those of each vector with the one that was found for it, without the rounding of the search."""
        parts = []
        for some, place in zip(units, places, strict=True):
            parts.append(xp.sum(some * xp.take(unit, place, axis=0), axis=1, keepdims=True))
        cosine = blocks.joined(xp, parts, 0)
        return xp.where(cosine <= 0, xp.zeros_like(cosine), cosine) if self.signed else cosine

    def _searched(self, xp: Any, units: list[Array]) -> list[Array]:
        if self.search == "float32":
            return units
        half = bfloat16(xp, self)
        return [xp.astype(unit, half) for unit in units]

    def _least(self, m: int, d: int) -> float:
        return max(0.0, (m - d) / (d * (m - 1))) if self.welch else 0.0

    def _squares(self, xp: Any, unit: Array) -> tuple[Array, Array]:
        """Cosines, 0 on the diagonal, and what the maximum is of, below every square on the diagonal."""
        upper = upper_products(xp, unit)
        cosine = upper + xp.matrix_transpose(upper)
        counted = xp.where(cosine <= 0, xp.zeros_like(cosine), cosine) if self.signed else cosine
        one = xp.ones_like(cosine)
        return cosine, counted * counted - (xp.triu(one, k=0) - xp.triu(one, k=1))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(signed=True, vector_axis=1), (3, 5))
        yield Example(cls(welch=True, vector_axis=-1), (2, 1, 5))
        yield Example(cls(), (2, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanCosine(Angular):
    """`mean(cos(x_i, x_j) for i != j)` over the vectors along `vector_axis`, opposite ones counting below zero.

    It is smallest, at -1/(m - 1), when the directions add up to 0. It says nothing about single pairs, so use it
    against a direction that all vectors share, and `Orthogonality` or `MaxCosine` against twins.

    With s the sum of the unit vectors u, the value is (s . s - sum(u . u))/(m (m - 1)) and the derivative by u is
    2 (s - u)/(m (m - 1)). Shapes and zero vectors as in `Orthogonality`. Memory: no more than the vectors.
    Unchanged by: order of samples, length of each row, sign of x, order of units, rotation of units.

    Raises ValueError for one axis, unknown sizes, or a single vector.

    Source: the mean of the cosine similarities of K. Ethayarajh, "How contextual are contextualized word
    representations?", EMNLP (2019), arXiv:1909.00512, where it measures anisotropy.

    >>> x = np.asarray([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, -1.0]])  # cosines 1, -1 and four times 0
    >>> float(MeanCosine()(x)), float(MeanCosine()(x[:3]))
    (0.0, 0.3333333333333333)
    """

    def of_units(self, xp: Any, unit: Array, params: Params) -> Array:
        return xp.sum(unit * self._others(xp, unit)) * (1.0 / (unit.shape[0] * (unit.shape[0] - 1)))

    def by_units(self, xp: Any, unit: Array, params: Params) -> Array:
        return self._others(xp, unit) * (2.0 / (unit.shape[0] * (unit.shape[0] - 1)))

    @staticmethod
    def _others(xp: Any, unit: Array) -> Array:
        return xp.sum(unit, axis=0, keepdims=True) - unit

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(vector_axis=1), (3, 5))
        yield Example(cls(vector_axis=-1), (2, 2, 3))
        yield Example(cls(), (2, 1))
