"""Singular values, whose squares are the eigenvalues of V V^T and, beside zeros, of V^T V."""

import numpy as np

from .arithmetic import Real, eigenvalues, products, sqrt
from .loops import Formula, Given, lists, positive, relu, total, vectors


def nuclear_norm(given: Given) -> Real:
    """The sum of the singular values of V; M. Fazel, H. Hindi, S. Boyd (2001)."""
    rows = vectors(given)
    columns = [list(column) for column in zip(*rows, strict=True)]
    squares = eigenvalues(products(min(rows, columns, key=len)))
    return total(sqrt(relu(square)) for square in squares)  # 0 may come out as -1e-120


def spectral_isometry(given: Given) -> Real:
    """The largest |eigenvalue| of V V^T - I; N. Bansal et al., arXiv:1810.09102.

    Which of them count as the largest is held constant, and so is what has no part in the derivative.
    """
    errors, held = _errors(given, given.x), _errors(given, given.held["x"])
    slack, worst = given.fields.tolerance * (2 + held[-1]), max(abs(error) for error in held)
    tied = [i for i, error in enumerate(held) if abs(error) >= worst - slack]
    lacking = len(held) > given.x.size // len(held)  # units, and then there are eigenvalues -1 whatever the vectors are
    moving = [i for i in tied if held[i] > slack or (held[i] < -slack and not lacking)]
    return worst + total(abs(errors[i]) - abs(held[i]) for i in moving) / len(tied)


def _errors(given: Given, x: np.ndarray) -> list[Real]:
    """The eigenvalues of V V^T - I, in order."""
    rows = lists(x, positive(given.fields.vector_axis, x))
    return sorted(eigenvalue - 1 for eigenvalue in eigenvalues(products(rows)))


FORMULAS: dict[str, Formula] = {"NuclearNorm": nuclear_norm, "SpectralIsometry": spectral_isometry}
