"""Singular values in any arithmetic that Python operators carry, which LAPACK has for double precision only."""

from typing import Any, NamedTuple

import numpy as np

SWEEPS = 40


class SVD(NamedTuple):
    """`U @ diag(S) @ Vh`, largest singular value first; the column of U for a singular value of 0 is 0."""

    U: np.ndarray
    S: np.ndarray
    Vh: np.ndarray


def svd(matrix: np.ndarray, epsilon: Any) -> SVD:
    """The thin decomposition of a small real matrix to relative precision `epsilon`, by one-sided Jacobi rotations.

    Source: J. Demmel, K. Veselic, "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal. Appl. 13 (1992).

    >>> svd(np.asarray([[3.0, 0.0], [0.0, -4.0]]), 2.0**-52).S
    array([4., 3.])
    """
    if matrix.shape[0] < matrix.shape[1]:
        U, S, Vh = svd(matrix.T, epsilon)
        return SVD(Vh.T, S, U.T)
    columns, V = matrix.copy(), np.eye(matrix.shape[1], dtype=int) * (matrix.flat[0] * 0 + 1)
    negligible = (columns * columns).sum() * epsilon * epsilon
    for _ in range(SWEEPS):
        if not sum(_rotate(columns, V, p, q, epsilon, negligible) for q in range(V.shape[1]) for p in range(q)):
            break
    S = np.asarray([(column * column).sum() ** 0.5 for column in columns.T], dtype=columns.dtype)
    order = np.argsort(-S)
    return SVD((columns / np.where(S == 0, S + 1, S))[:, order], S[order], V.T[order])


def _rotate(columns: np.ndarray, V: np.ndarray, p: int, q: int, epsilon: Any, negligible: Any) -> bool:
    """Make two columns orthogonal, in place; whether they were not."""
    a, b, product = ((columns[:, i] * columns[:, j]).sum() for i, j in ((p, p), (q, q), (p, q)))
    if abs(product) <= epsilon * (a * b) ** 0.5 + negligible:
        return False
    zeta = (b - a) / (2 * product)
    tangent = (1 if zeta >= 0 else -1) / (abs(zeta) + (1 + zeta * zeta) ** 0.5)
    cosine = 1 / (1 + tangent * tangent) ** 0.5
    for array in (columns, V):
        left, right = array[:, p].copy(), array[:, q].copy()
        array[:, p], array[:, q] = (left - right * tangent) * cosine, (left * tangent + right) * cosine
    return True
