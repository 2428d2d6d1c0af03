"""Functions of directions, and their derivative by vectors of any length."""

import abc
import dataclasses
from typing import Any

from .blocks import joined, panels
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
        axis = self.vector_axis % len(x.shape)
        parts = panels(x, axis)
        units, per_lengths = map(list, zip(*[directions(xp, rows(xp, part, axis)) for part in parts], strict=True))
        value, slopes = self.both_of_units(xp, units, params, sloped=True)
        for i, part in enumerate(parts):
            slopes[i], units[i] = self._tangential(xp, part, units[i], per_lengths[i], slopes[i]), None
        return value, (joined(xp, slopes, axis), {})

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        axis = self.vector_axis % len(x.shape)
        units = [directions(xp, rows(xp, part, axis))[0] for part in panels(x, axis)]
        return self.both_of_units(xp, units, params, sloped=False)[0]

    def both_of_units(self, xp: Any, units: list[Array], params: Params, *, sloped: bool) -> tuple[Array, list[Array]]:
        """`of_units` and `by_units` in one pass, of panels and for panels, where `one_pass` is true.

        Where it is not to be `sloped` the second may be empty.
        """
        unit = joined(xp, units, 0)
        return self.of_units(xp, unit, params), panels(self.by_units(xp, unit, params), 0) if sloped else []

    def _tangential(self, xp: Any, x: Array, unit: Array, per_length: Array, by_unit: Array) -> Array:
        radial = xp.sum(by_unit * unit, axis=1, keepdims=True)
        return unrows(xp, (by_unit - radial * unit) * per_length, x, self.vector_axis)
