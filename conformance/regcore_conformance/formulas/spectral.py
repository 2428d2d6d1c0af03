"""Singular values, whose squares are the eigenvalues of V V^T and, beside zeros, of V^T V."""

from .arithmetic import Real, eigenvalues, products, sqrt
from .loops import Formula, Given, relu, total, vectors


def nuclear_norm(given: Given) -> Real:
    """The sum of the singular values of V; M. Fazel, H. Hindi, S. Boyd (2001)."""
    rows = vectors(given)
    columns = [list(column) for column in zip(*rows, strict=True)]
    squares = eigenvalues(products(min(rows, columns, key=len)))
    return total(sqrt(relu(square)) for square in squares)  # 0 may come out as -1e-120


def spectral_isometry(given: Given) -> Real:
    """The largest |eigenvalue| of V V^T - I; N. Bansal et al., arXiv:1810.09102."""
    return max(abs(eigenvalue - 1) for eigenvalue in eigenvalues(products(vectors(given))))


FORMULAS: dict[str, Formula] = {"NuclearNorm": nuclear_norm, "SpectralIsometry": spectral_isometry}
