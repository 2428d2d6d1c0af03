"""Functions of directions, and their derivative by vectors of any length."""

import abc
import dataclasses
from typing import Any

from .penalty import Alone, Array, Gradient, Params, Penalty, Shape
from .vectors import check_vectors, directions, rows, unrows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Angular(Penalty):
    """A function of the directions of the vectors along `vector_axis`, the other axes flattened to their entries.

    Its derivative by a vector is that by its direction u without the radial part, over its length: always tangential.
    A zero vector has direction 0 and gradient 0.
    """

    vector_axis: int = 0

    @abc.abstractmethod
    def of_units(self, xp: Any, unit: Array, params: Params) -> Array:
        """The penalty of unit vectors, the rows of a matrix."""

    @abc.abstractmethod
    def by_units(self, xp: Any, unit: Array, params: Params) -> Array:
        """Its derivative by them, as if they were free."""

    def check(self, shape: Shape, **inputs: Shape) -> None:
        check_vectors(self, shape, self.vector_axis)

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        unit, _ = directions(xp, rows(xp, x, self.vector_axis))
        return self.of_units(xp, unit, params)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        unit, per_length = directions(xp, rows(xp, x, self.vector_axis))
        return self._tangential(xp, x, unit, per_length, self.by_units(xp, unit, params)), {}

    def value_and_grad(
        self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone
    ) -> tuple[Array, Gradient]:
        unit, per_length = directions(xp, rows(xp, x, self.vector_axis))
        value, by_unit = self.both_of_units(xp, unit, params)
        return value, (self._tangential(xp, x, unit, per_length, by_unit), {})

    def both_of_units(self, xp: Any, unit: Array, params: Params) -> tuple[Array, Array]:
        """`of_units` and `by_units` in one pass, for shapes of which `one_pass` is true."""
        return self.of_units(xp, unit, params), self.by_units(xp, unit, params)

    def _tangential(self, xp: Any, x: Array, unit: Array, per_length: Array, by_unit: Array) -> Array:
        radial = xp.sum(by_unit * unit, axis=1, keepdims=True)
        return unrows(xp, (by_unit - radial * unit) * per_length, x, self.vector_axis)
