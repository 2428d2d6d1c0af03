"""Penalties on the singular values of weights."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any

from ..penalty import Array, Example, Params
from ..singular import decompose, filtered, tall
from ..vectors import rows
from .orthonormality import OfMatrix

__all__ = ["NuclearNorm", "SpectralIsometry"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfSingularValues(OfMatrix):
    """f of the singular values s of V = U diag(s) W.T, with the derivative V W diag(f'(s)/s) W.T = U diag(f'(s)) W.T.

    That is the same whatever vectors a library chose for equal singular values, as long as f' is the same for these.
    Singular values that differ by no more than `tolerance` times the largest one count as equal, and those that are no
    larger than it as 0; this decides the gradient at ties and at 0, alike in every library and precision, and never the
    value.
    """

    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.tolerance < 1.0:
            raise ValueError(f"tolerance={self.tolerance}; it is relative to the largest singular value: 0 <= it < 1")

    @abc.abstractmethod
    def of_singular(self, xp: Any, s: Array, lacking: int) -> Array:
        """f; `lacking` is how many vectors there are more than singular values."""

    @abc.abstractmethod
    def ratio(self, xp: Any, s: Array, scale: Array, lacking: int) -> Array:
        """`scale` times f'(s)/s for each singular value s, which is given in units of `scale`."""

    def of_matrix(self, xp: Any, matrix: Array) -> Array:
        s, _, fault = decompose(xp, tall(xp, matrix))
        return self.of_singular(xp, s, _lacking(matrix)) + fault

    def by_matrix(self, xp: Any, matrix: Array) -> Array:
        upright = tall(xp, matrix)
        largest = xp.max(xp.abs(upright))
        scale = xp.where(largest == 0, xp.ones_like(largest), largest)
        scaled = upright / scale  # because 1/s overflows where s is subnormal
        s, v, fault = decompose(xp, scaled)
        slope = filtered(xp, scaled, self.ratio(xp, s, scale, _lacking(matrix)), v) + fault
        return slope if upright is matrix else xp.matrix_transpose(slope)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NuclearNorm(OfSingularValues):
    """`sum(singular values of V)`: a matrix of low rank; V has the vectors along `vector_axis` for rows.

    The largest convex function below the rank, for matrices of spectral norm 1 at most: what L1 is to sparsity. For
    weights that are to be factorised, and for stacked parameters of related tasks; scales as |x|, and grows with the
    rank, so not for keeping lengths.

    Shapes: two axes or more, known beforehand; the axes other than `vector_axis` are flattened. The derivative is U W.T
    for V = U diag(s) W.T, with 0 for singular values up to `tolerance` times the largest: the subgradient of least
    norm. Second derivatives are wrong or NaN at equal singular values. Cost: one singular value decomposition.
    Unchanged by: sign of each row, rotation of units, rotation of samples.

    Raises ValueError for one axis, unknown sizes, and a tolerance outside [0, 1).

    Source: M. Fazel, H. Hindi, S. Boyd, "A rank minimization heuristic with application to minimum order system
    approximation", American Control Conference (2001).

    >>> round(float(NuclearNorm()(np.asarray([[3.0, 0.0], [0.0, -4.0]]))), 12)
    7.0
    """

    def of_singular(self, xp: Any, s: Array, lacking: int) -> Array:
        return xp.sum(s)

    def ratio(self, xp: Any, s: Array, scale: Array, lacking: int) -> Array:
        zero = s <= xp.max(s) * self.tolerance
        return xp.where(zero, xp.zeros_like(s), 1.0 / xp.where(zero, xp.ones_like(s), s))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(tolerance=2.0**-16), (3, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralIsometry(OfSingularValues):
    """`max(abs(eigenvalues of V @ V.T - I))`: all singular values of V near 1; known as SRIP.

    The spectral norm of V @ V.T - I, V having the vectors along `vector_axis` for rows: max(abs(s**2 - 1)) over the
    singular values s. More than d vectors of d entries cannot be orthonormal, and the value is then at least 1, with
    gradient 0 where no s**2 exceeds 2: name the other axis, which is what the authors' code does. Exact here;
    the authors estimate it by two steps of power iteration, and their code squares it. For layers that should keep
    lengths of signals and gradients; costly for large weights, where `SoftOrthogonality` is cheaper.

    Shapes: two axes or more, known beforehand; the other axes are flattened; `vector_axis` is 0 in PyTorch and -1 in
    Keras and Flax. The derivative is 2 sign(s**2 - 1) s u w.T for the one s where the largest is attained. Where k
    eigenvalues attain it within `tolerance` times (1 + the largest s**2), each has 1/k of that; where all are that near
    to 0, the gradient is 0. Cost: one singular value decomposition. Second derivatives are wrong or NaN at equal
    singular values. Unchanged by: sign of each row, rotation of units, rotation of samples.

    Raises ValueError for one axis, unknown sizes, and a tolerance outside [0, 1).

    Source: N. Bansal, X. Chen, Z. Wang, "Can we gain more from orthogonality regularizations in training deep CNNs?",
    NeurIPS (2018), arXiv:1810.09102.

    >>> x = np.asarray([[0.5, 0.0], [0.0, 3.0]])
    >>> round(float(SpectralIsometry()(x)), 12)  # 3**2 - 1
    8.0
    """

    def of_singular(self, xp: Any, s: Array, lacking: int) -> Array:
        return self._worst(xp, xp.abs(s * s - 1.0), lacking)

    def ratio(self, xp: Any, s: Array, scale: Array, lacking: int) -> Array:
        return 2.0 * scale * self._shares(xp, s * scale, lacking)

    def _shares(self, xp: Any, s: Array, lacking: int) -> Array:
        """The derivative by each s**2; NaN where it overflows."""
        error = s * s - 1.0
        size, none, one = xp.abs(error), xp.zeros_like(s), xp.ones_like(s)
        worst = self._worst(xp, size, lacking)
        slack = (1.0 + xp.max(s * s)) * self.tolerance
        tied = xp.where(size < worst - slack, none, one)
        below = none if lacking else -one  # where vectors are lacking only s = 0 attains it from below
        sign = xp.where(size <= slack, none, xp.where(error < 0, below, one))
        constant = xp.zeros_like(worst) + lacking  # eigenvalues -1, which have no gradient
        count = xp.sum(tied) + xp.where(worst - slack > 1, xp.zeros_like(worst), constant)
        return sign * tied / count + (worst - worst)

    def value_holding(self, xp: Any, x: Array, params: Params, held: Params, *, mask: Array = None) -> Array:
        """Which singular values share in the largest is held."""
        matrix, before = rows(xp, x, self.vector_axis), rows(xp, held["x"], self.vector_axis)
        (s, _, _), (known, _, _) = (decompose(xp, tall(xp, each)) for each in (matrix, before))
        moved = self._shares(xp, known, _lacking(before)) * (s * s - known * known)
        return self.of_matrix(xp, before) + xp.sum(moved)

    @staticmethod
    def _worst(xp: Any, size: Array, lacking: int) -> Array:
        worst = xp.max(size)
        return xp.where(worst <= 1, xp.ones_like(worst), worst) if lacking else worst

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield from super().examples()
        yield Example(cls(tolerance=0.25), (4, 4))
        yield Example(cls(tolerance=0.25), (5, 3))


def _lacking(matrix: Array) -> int:
    """How many vectors there are more than singular values."""
    lacking: int = matrix.shape[0] - min(matrix.shape)
    return lacking
