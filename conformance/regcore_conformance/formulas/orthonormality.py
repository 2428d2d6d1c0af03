"""Vectors that are to be orthogonal and of length one."""

from .arithmetic import Matrix, Real, products
from .loops import Formula, Given, total, vectors


def soft_orthogonality(given: Given) -> Real:
    """|V V^T - I|_F^2, and |V^T V - I|_F^2 beside it if double-sided; N. Bansal et al., arXiv:1810.09102."""
    rows = vectors(given)
    value = total(entry**2 for entry in _less_identity(rows))
    if given.fields.double_sided:
        columns = [list(column) for column in zip(*rows, strict=True)]
        value += total(entry**2 for entry in _less_identity(columns))
    return value


def off_diagonal_orthogonality(given: Given) -> Real:
    """The sum of (v_i . v_j)^2 over i != j; A. Brock, J. Donahue, K. Simonyan, arXiv:1809.11096."""
    matrix = products(vectors(given))
    return total(entry**2 for i, row in enumerate(matrix) for j, entry in enumerate(row) if i != j)


def mutual_coherence(given: Given) -> Real:
    """The largest |entry| of V V^T - I; N. Bansal et al., arXiv:1810.09102."""
    return max(abs(entry) for entry in _less_identity(vectors(given)))


def _less_identity(rows: Matrix) -> list[Real]:
    """The entries of the matrix of products of rows, minus the identity."""
    return [entry - (i == j) for i, row in enumerate(products(rows)) for j, entry in enumerate(row)]


FORMULAS: dict[str, Formula] = {
    "SoftOrthogonality": soft_orthogonality,
    "OffDiagonalOrthogonality": off_diagonal_orthogonality,
    "MutualCoherence": mutual_coherence,
}
