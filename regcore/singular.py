"""Singular values, and functions of them that do not depend on which singular vectors a library chose."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .penalty import Array

STEPS = 2  # of refinement, each of which doubles the digits: XLA's own decomposition stops at half of those of float64
KNOWN = 2.0**-10  # an angle above which vectors belong to values so close that no direction is better than another


def tall(xp: Any, matrix: "Array") -> "Array":
    """The matrix or its transpose, whichever has all of its right singular vectors, if sizes are known."""
    rows, columns = matrix.shape
    return matrix if rows is None or rows >= columns else xp.matrix_transpose(matrix)


def decompose(xp: Any, matrix: "Array") -> "tuple[Array, Array, Array]":
    """Singular values, right singular vectors as columns, and 0, or NaN where the matrix is not finite.

    The decompositions of libraries leave errors of up to 100 units in the last place, or raise for NaN; this does not.
    """
    fault = xp.sum(matrix - matrix)
    safe = xp.where(matrix - matrix == 0, matrix, xp.zeros_like(matrix))
    largest = xp.max(xp.abs(safe))
    scale = xp.where(largest == 0, xp.ones_like(largest), largest)
    scaled = safe / scale  # so that no square overflows, and none that matters underflows; 1/scale might overflow
    v = xp.matrix_transpose(xp.linalg.svd(scaled, full_matrices=False)[2])
    for _ in range(STEPS):
        v = _refined(xp, xp.matmul(scaled, v), v)
    moved = xp.matmul(scaled, v)
    return xp.sqrt(xp.sum(moved * moved, axis=0)) * scale, v, fault


def filtered(xp: Any, matrix: "Array", ratio: "Array", v: "Array") -> "Array":
    """The rows of a matrix with their part along each right singular vector multiplied by its ratio."""
    return xp.matmul(xp.matmul(matrix, v) * ratio, xp.matrix_transpose(v))


def _refined(xp: Any, moved: "Array", v: "Array") -> "Array":
    """Vectors turned by the angles that are missing for what they are `moved` to being orthogonal, to first order."""
    products = xp.matmul(xp.matrix_transpose(moved), moved)
    one = xp.ones_like(products)
    eye = xp.triu(one, k=0) - xp.triu(one, k=1)
    square = xp.sum(products * eye, axis=0)
    gap, off = square[None, :] - square[:, None], products * (one - eye)
    known = xp.abs(off) < KNOWN * xp.abs(gap)
    angle = xp.where(known, off / xp.where(known, gap, one), xp.zeros_like(off))
    turned = v + xp.matmul(v, angle)
    error = xp.matmul(xp.matrix_transpose(turned), turned) - eye
    return turned - 0.5 * xp.matmul(turned, error)  # Newton's step to orthonormal vectors
