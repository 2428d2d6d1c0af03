"""The penalty on all angles between vectors, such as the rows of a dictionary; their lengths do not matter."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from .. import blocks
from ..angular import Angular
from ..counting import reciprocal
from ..kinks import sign
from ..penalty import Array, Example, Params, Shape
from ..precision import bfloat16
from ..vectors import matrix_shape, upper_products

__all__ = ["Orthogonality"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Orthogonality(Angular):
    """`mean(relu(abs(cos(x_i, x_j)) - threshold)**power for i != j)` over the vectors along `vector_axis`.

    `power=1` is the mean of |cos|, `power=2` that of cos**2, the frame potential; larger powers and a `threshold` (the
    hinge) look at the closest pairs only. `signed=True` leaves out the absolute value, so that vectors may be opposite.

    **Do not use `power=1` for a dictionary with more vectors than dimensions.** A mean of |cos| is smallest when the
    cosines are sparse, so it makes equal and opposite twins: at m = 4 d every vector gets one (docs/dictionaries.md).
    `power=2` spreads the vectors, but leaves twins that are there already, because every tight frame minimises it, an
    orthonormal basis repeated k times too. There use `power=4`, a threshold of about 1/sqrt(d), or `MaxCosine`; with
    m <= d all forms agree on the optimum.

    `welch=True` subtracts the least value that m vectors in d dimensions can have, for an even `power` 2k and no
    threshold: (m c - 1)/(m - 1), if above 0, with c = 1/d 3/(d + 2) ... (2 k - 1)/(d + 2 k - 2), which is Welch's bound
    (m - d)/(d (m - 1)) for power 2 and Sidelnikov's for real vectors beyond. `coactive=True` weighs each pair by the
    number of samples in which both are active: pass `active`, a boolean array (samples, vectors), as in
    `spec(decoder, active=codes > 0)`; with no such pair value and gradient are 0.

    `products="bfloat16"`, for `power=1` without a threshold, makes products in bfloat16, at any m: for the cosines of
    directions as sums of two numbers each, for the gradient of rounded ones. On random vectors the value is within 1e-3
    of that in float32, and the gradient within 1 % of its norm (tests/test_blocks.py). A rounded cosine has its sign,
    but may be on the other side of a threshold.

    Shapes: two axes or more, known beforehand; `vector_axis` counts the m vectors, the other axes are flattened to
    their d entries. With unit vectors u and the matrix G of derivatives by the cosines the gradient is that of the
    directions, (G u - (G u . u) u)/|x|, always tangential. A zero vector has cosine 0 to all and gradient 0; so has
    |cos| at 0 and a cosine at the threshold. Matrix products are full float32 in JAX and follow torch.backends and
    tf.config in the others. Memory: twice x and a few blocks of 1024*1024 numbers, or of (m/16)**2 where that is more;
    d*d instead for the plain `power=2` where m >= 2 d; m*m with `coactive=True`; 1.5 times x more for bfloat16.
    Unchanged by: order of samples, length of each row, sign of each row, order of units, rotation of units. Where
    `signed=True`, signs count.

    Raises ValueError for one axis, unknown sizes, a single vector, and fields that make no sense; TypeError for
    products in bfloat16 in a library without it, such as NumPy.

    Source: the frame potential of J. J. Benedetto, M. Fickus, "Finite normalized tight frames", Adv. Comput. Math. 18
    (2003), for power=2; for power=1 the orthogonality regularizer of Keras, which has the same mean. The bounds: L.
    Welch, "Lower bounds on the maximum cross correlation of signals", IEEE Trans. Inf. Theory 20 (1974); V. M.
    Sidelnikov, "New bounds for densest packing of spheres in n-dimensional Euclidean space", Math. USSR Sb. 24 (1974).

    >>> x = np.asarray([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])  # cosines .7071, .7071 and 0
    >>> [round(float(Orthogonality(power=power)(x)), 4) for power in (1, 2, 4)]
    [0.4714, 0.3333, 0.1667]
    """

    power: float = 2
    threshold: float = 0.0
    signed: bool = False
    welch: bool = False
    coactive: bool = False
    products: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power < 1:
            raise ValueError(f"power={self.power}; below 1 the derivative is infinite at a cosine of 0: use 1 or more")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold={self.threshold}; cosines are at most 1, so it is from 0 to below 1")
        if self.welch and (self.power % 2 or self.threshold or self.signed or self.coactive):
            raise ValueError("welch=True is known for an even power, without threshold, signed and coactive")
        if self.products != "float32" and (self.power != 1 or self.threshold or self.coactive):
            raise ValueError(
                f"products={self.products!r} got power={self.power}, threshold={self.threshold} and coactive="
                f"{self.coactive}; it is for power=1 alone, whose slopes are 0, 1 and -1"
            )

    def inputs(self) -> dict[str, str]:
        return {"active": "bool"} if self.coactive else {}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        m = shape[self.vector_axis]
        if self.coactive and (len(inputs["active"]) != 2 or inputs["active"][1] != m):
            raise ValueError(f"{self} got active of shape {inputs['active']}; expected (samples, {m})")

    def of_units(self, xp: Any, unit: Array, params: Params) -> Array:
        cosine = upper_products(xp, unit)
        weights = self._weights(xp, cosine, params)
        return xp.sum(weights * self._excess(xp, cosine) ** self.power) - self._least(*unit.shape)

    def by_units(self, xp: Any, unit: Array, params: Params) -> Array:
        cosine = upper_products(xp, unit)
        slope = self._weights(xp, cosine, params) * self._slopes(xp, cosine)
        return xp.matmul(slope + xp.matrix_transpose(slope), unit)

    def _slopes(self, xp: Any, cosine: Array) -> Array:
        if self._is_even:  # smooth at 0, so that second derivatives are right there
            return self.power * cosine ** (int(self.power) - 1)
        slope = self._excess(xp, cosine)
        slope = sign(xp, slope) if self.power == 1 else self.power * slope ** (self.power - 1)
        return slope if self.signed else slope * sign(xp, cosine)

    def one_pass(self, shape: Shape, across: Any) -> bool:
        m, d = matrix_shape(shape, self.vector_axis)
        if self.products != "float32":
            return True
        return (self._is_frame_potential and m >= 2 * d) or (m > blocks.ROWS and not self.coactive)

    def both_of_units(self, xp: Any, units: list[Array], params: Params, *, sloped: bool) -> tuple[Array, list[Array]]:
        m, d = sum([unit.shape[0] for unit in units]), units[0].shape[1]
        share = 1.0 / (m * (m - 1))
        if self._is_frame_potential and m >= 2 * d:
            value, slopes = blocks.squares(xp, [*units], factor=4.0 * share, equal=True, sloped=sloped)
            return value * share - self._least(m, d), slopes
        half = None if self.products == "float32" else bfloat16(xp, self)
        value, slopes = blocks.over_pairs(xp, units, lambda one: self._of_block(xp, one), sloped=sloped, half=half)
        return value * (2.0 * share) - self._least(m, d), blocks.scaled(slopes, 2.0 * share, value - value)

    def _of_block(self, xp: Any, cosine: Array) -> tuple[Array, Array]:
        """The sum over a block and its slopes, in as few passes as there can be: one costs what 25 d products do."""
        if self._is_even:
            slope = cosine if self.power == 2 else cosine ** (int(self.power) - 1)
            return xp.sum(cosine * slope), self.power * slope
        sign = 1.0 if self.signed else getattr(xp, "sgn", xp.sign)(cosine)  # of PyTorch, with no pass for NaN
        size = sign * cosine
        if self.threshold or self.signed:
            over = xp.astype(size > self.threshold, size.dtype)
            size, sign = (size - self.threshold) * over, over * sign  # cosines are finite, and NaN stays NaN
        if self.power == 1:
            return xp.sum(size), sign
        slope = size ** (self.power - 1)
        return xp.sum(size * slope), self.power * slope * sign

    @property
    def _is_frame_potential(self) -> bool:
        return self.power == 2 and self._is_even and not self.coactive

    @property
    def _is_even(self) -> bool:
        return self.power % 2 == 0 and not (self.threshold or self.signed)

    def _excess(self, xp: Any, cosine: Array) -> Array:
        size = cosine if self.signed else xp.abs(cosine)
        return xp.where(size <= self.threshold, xp.zeros_like(size), size - self.threshold)

    def _weights(self, xp: Any, cosine: Array, params: Params) -> "float | Array":
        """Of each pair above the diagonal."""
        if not self.coactive:
            return 2.0 / (cosine.shape[0] * (cosine.shape[0] - 1))
        active = xp.astype(params["active"], cosine.dtype)
        together = xp.triu(xp.matmul(xp.matrix_transpose(active), active), k=1)
        return together * reciprocal(xp, xp.sum(together))

    def _least(self, m: int, d: int) -> float:
        if not self.welch:
            return 0.0
        all_pairs = math.prod([(2 * i + 1) / (d + 2 * i) for i in range(int(self.power) // 2)])  # with themselves, too
        return max(0.0, (m * all_pairs - 1) / (m - 1))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(power=1, vector_axis=1), (3, 5))
        yield Example(cls(power=4, welch=True), (5, 2))
        yield Example(cls(welch=True), (5, 2))
        yield Example(cls(power=2.5, signed=True, vector_axis=-1), (2, 2, 3))
        yield Example(cls(threshold=0.25), (4, 3))
        active = np.asarray([[True, True, False, True], [False, True, False, True], [True, False, False, True]])
        yield Example(cls(coactive=True), (4, 2), inputs={"active": active})
        yield Example(cls(coactive=True), (4, 2), inputs={"active": active & False})
        yield Example(cls(), (2, 1))
