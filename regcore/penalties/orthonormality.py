"""Penalties that make vectors, such as the filters of a weight, orthogonal and of length one."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any

from .. import blocks
from ..counting import positive_axis
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape
from ..vectors import check_vectors, rows, unrows, upper_products

__all__ = ["MutualCoherence", "OffDiagonalOrthogonality", "SoftOrthogonality"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfMatrix(Penalty):
    """A function of the matrix V whose rows are the vectors along `vector_axis`, the other axes flattened."""

    vector_axis: int = 0

    @abc.abstractmethod
    def of_matrix(self, xp: Any, matrix: Array) -> Array:
        """The penalty of the matrix."""

    @abc.abstractmethod
    def by_matrix(self, xp: Any, matrix: Array) -> Array:
        """Its derivative."""

    def check(self, shape: Shape, **inputs: Shape) -> None:
        if len(shape) < 2:
            raise ValueError(f"{self} got shape {shape}; it is for matrices, so it needs an array of two axes or more")
        positive_axis("vector_axis", self.vector_axis, len(shape))
        if None in shape:
            raise ValueError(f"{self} got shape {shape}; all sizes must be known: give the input a fixed shape")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self.of_matrix(xp, rows(xp, x, self.vector_axis))

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        slope = self.by_matrix(xp, rows(xp, x, self.vector_axis))
        return unrows(xp, slope, x, self.vector_axis), {}

    def value_and_grad(
        self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone
    ) -> tuple[Array, Gradient]:
        value, slope = self.both_of_matrix(xp, rows(xp, x, self.vector_axis))
        return value, (unrows(xp, slope, x, self.vector_axis), {})

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self.value(xp, x, params)

    def both_of_matrix(self, xp: Any, matrix: Array) -> tuple[Array, Array]:
        """`of_matrix` and `by_matrix` in one pass, where `one_pass` is true."""
        return self.of_matrix(xp, matrix), self.by_matrix(xp, matrix)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (3, 4))
        yield Example(cls(vector_axis=-1), (2, 2, 3))
        yield Example(cls(vector_axis=1), (1, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftOrthogonality(OfMatrix):
    """`sum((V @ V.T - I)**2)`: vectors, the rows of V, that are orthogonal and of length one; known as SO.

    `double_sided=True` adds `sum((V.T @ V - I)**2)`, the same for the columns, known as DSO. For the filters of a
    weight of shape (out, in, ...), as in PyTorch; `vector_axis=-1` for (..., in, out), as in Keras and Flax, and for
    the columns of the W in the papers. m vectors of d < m dimensions cannot be orthogonal: the value is then at least
    m - d, and the least is at V.T @ V = I. Not where lengths should be free; see `Orthogonality`.

    Shapes: two axes or more, known beforehand; `vector_axis` counts the m vectors, the other axes are flattened to
    their d entries. The derivative is 4 (V @ V.T - I) @ V, and twice that if double-sided. Grows with the number of
    vectors, and as the fourth power of their lengths. Matrix products are full float32 in JAX and follow torch.backends
    and tf.config in the others. Memory: min(m, d)**2 numbers.
    Unchanged by: sign of each row, rotation of units, rotation of samples.

    Raises ValueError for one axis and for unknown sizes.

    Source: N. Bansal, X. Chen, Z. Wang, "Can we gain more from orthogonality regularizations in training deep CNNs?",
    NeurIPS (2018), arXiv:1810.09102; SO goes back to A. Brock, T. Lim, J. M. Ritchie, N. Weston, "Neural photo editing
    with introspective adversarial networks", ICLR (2017), arXiv:1609.07093, with absolute values.

    >>> x = np.asarray([[1.0, 0.0], [1.0, 2.0]])  # products 1, 1 and 5
    >>> float(SoftOrthogonality()(x))  # 1**2 + 1**2 + (5 - 1)**2
    18.0
    """

    double_sided: bool = False

    def of_matrix(self, xp: Any, matrix: Array) -> Array:
        m, d = matrix.shape
        error = _gram_error(xp, matrix if m <= d else xp.matrix_transpose(matrix))
        square = xp.sum(error * error)  # on the shorter side; each vector in excess adds 1 on the other
        return 2.0 * square + abs(m - d) if self.double_sided else square + max(m - d, 0)

    def by_matrix(self, xp: Any, matrix: Array) -> Array:
        scale = 8.0 if self.double_sided else 4.0
        if matrix.shape[0] <= matrix.shape[1]:
            return xp.matmul(_gram_error(xp, matrix) * scale, matrix)
        return xp.matmul(matrix, _gram_error(xp, xp.matrix_transpose(matrix)) * scale)

    def one_pass(self, shape: Shape, across: Any) -> bool:
        return True  # two products instead of three

    def both_of_matrix(self, xp: Any, matrix: Array) -> tuple[Array, Array]:
        m, d = matrix.shape
        error = _gram_error(xp, matrix if m <= d else xp.matrix_transpose(matrix))
        square, slope = xp.sum(error * error), xp.matmul(error, matrix) if m <= d else xp.matmul(matrix, error)
        if self.double_sided:
            return 2.0 * square + abs(m - d), 8.0 * slope
        return square + max(m - d, 0), 4.0 * slope

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(double_sided=True), (3, 4))
        yield Example(cls(double_sided=True, vector_axis=1), (2, 4))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OffDiagonalOrthogonality(OfMatrix):
    """`sum((x_i . x_j)**2 for i != j)` over the vectors along `vector_axis`: orthogonal, of any length.

    Lengths are not driven to 1, which limits a generator less than `SoftOrthogonality` does; they shrink all the same,
    because the value grows as their fourth power. Where lengths must stay out of it use `Orthogonality`.

    Shapes: two axes or more, known beforehand; `vector_axis` counts the m vectors, the rows of V, 0 in PyTorch and -1
    in Keras and Flax; the other axes are flattened. The derivative is 4 off(V @ V.T) @ V, without the diagonal. The
    authors' PyTorch code has half of that: halve their weight, 1e-4. Memory: d*d numbers where m >= 2 d, otherwise
    blocks of 1024*1024, or (m/16)**2 where that is more.
    Unchanged by: order of samples, sign of each row, rotation of units.

    Raises ValueError for one axis, unknown sizes, or a single vector.

    Source: A. Brock, J. Donahue, K. Simonyan, "Large scale GAN training for high fidelity natural image synthesis"
    (BigGAN), ICLR (2019), arXiv:1809.11096.

    >>> float(OffDiagonalOrthogonality()(np.asarray([[1.0, 0.0], [1.0, 2.0]])))  # 1**2 + 1**2
    2.0
    """

    def check(self, shape: Shape, **inputs: Shape) -> None:
        check_vectors(self, shape, self.vector_axis)

    def of_matrix(self, xp: Any, matrix: Array) -> Array:
        pairs = upper_products(xp, matrix)
        return 2.0 * xp.sum(pairs * pairs)

    def by_matrix(self, xp: Any, matrix: Array) -> Array:
        pairs = upper_products(xp, matrix)
        return xp.matmul(4.0 * (pairs + xp.matrix_transpose(pairs)), matrix)

    def one_pass(self, shape: Shape, across: Any) -> bool:
        return True

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self.both_of_matrix(xp, rows(xp, x, self.vector_axis), sloped=False)[0]

    def both_of_matrix(self, xp: Any, matrix: Array, *, sloped: bool = True) -> tuple[Array, Array]:
        m, d = matrix.shape
        parts = blocks.panels(matrix, 0)
        if m >= 2 * d:
            value, slopes = blocks.squares(xp, parts, factor=4.0, sloped=sloped)
        else:
            value, slopes = blocks.over_pairs(xp, parts, lambda p: (2.0 * xp.sum(p * p), 4.0 * p), sloped=sloped)
        return value, blocks.joined(xp, slopes, 0) if sloped else None

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(), (10, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MutualCoherence(OfMatrix):
    """`max(abs(V @ V.T - I))`: the worst product of two vectors, the rows of V, or the worst squared length; MC.

    The largest entry, with the diagonal: vectors are not normalised, so that lengths are driven to 1 too, and only for
    unit vectors is it their mutual coherence, the largest |cos|. The gradient reaches one pair or one vector at a time:
    use `SoftOrthogonality` or `SpectralIsometry` where that is too slow, and `MaxCosine` for cosines.

    Shapes: two axes or more, known beforehand; `vector_axis` counts the m vectors, 0 in PyTorch and -1 in Keras and
    Flax; the other axes are flattened. The derivative is 2 S @ V, with S the sign of the entry at the largest one and 0
    elsewhere; k largest entries have 1/k of their signs each, and where V @ V.T = I it is 0. Memory: m*m numbers.
    Unchanged by: order of samples, sign of each row, rotation of units.

    Raises ValueError for one axis and for unknown sizes.

    Source: N. Bansal, X. Chen, Z. Wang, "Can we gain more from orthogonality regularizations in training deep CNNs?",
    NeurIPS (2018), arXiv:1810.09102.

    >>> x = np.asarray([[1.0, 0.0], [1.0, 2.0]])  # products 1, 1 and 5
    >>> float(MutualCoherence()(x)), float(MutualCoherence()(x / 2))  # 5 - 1, and 1 - 1/4
    (4.0, 0.75)
    """

    def of_matrix(self, xp: Any, matrix: Array) -> Array:
        error = _gram_error(xp, matrix)
        return xp.max(xp.abs(error)) + xp.sum(error - error)  # NaN, which not every maximum keeps

    def by_matrix(self, xp: Any, matrix: Array) -> Array:
        error = _gram_error(xp, matrix)
        size = xp.abs(error)
        largest = xp.where(size < xp.max(size), xp.zeros_like(size), xp.ones_like(size))
        share = largest * sign(xp, error) * (2.0 / xp.sum(largest))
        return xp.matmul(share, matrix) + xp.sum(error - error)


def _gram_error(xp: Any, matrix: Array) -> Array:
    """The products of all rows with all rows, less those of orthonormal ones."""
    products = xp.matmul(matrix, xp.matrix_transpose(matrix))
    one = xp.ones_like(products)
    return products - (xp.triu(one, k=0) - xp.triu(one, k=1))
