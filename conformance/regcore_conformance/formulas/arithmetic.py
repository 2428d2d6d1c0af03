"""Real numbers of 120 digits, and the two things about matrices of them that formulas ask for."""

from typing import Any

import gmpy2

exp, log, sqrt, tanh = gmpy2.exp, gmpy2.log, gmpy2.sqrt, gmpy2.tanh

BITS = 400  # 120 digits, so that formulas can be written as they are published, without thought of cancellation
SWEEPS = 60

Real = Any  # a number of MPFR's, which is a gmpy2.mpfr
Matrix = list[list[Real]]


def precision() -> Any:
    """The context in which formulas are evaluated."""
    return gmpy2.context(precision=BITS)


def real(number: Any) -> Real:
    """A float, an integer or a number of MPFR's, exactly."""
    return gmpy2.mpfr(number)


def pi() -> Real:
    return gmpy2.const_pi()


def dot(a: list[Real], b: list[Real]) -> Real:
    return sum((p * q for p, q in zip(a, b, strict=True)), start=real(0))


def products(rows: Matrix) -> Matrix:
    """The matrix of the products of all rows with all rows."""
    return [[dot(a, b) for b in rows] for a in rows]


def log_determinant(matrix: Matrix) -> Real:
    """That of a positive definite matrix, by elimination: the logarithms of its pivots."""
    rows, total = [list(row) for row in matrix], real(0)
    for k, pivot in enumerate(rows):
        total += log(pivot[k])
        for row in rows[k + 1 :]:
            factor = row[k] / pivot[k]
            for column in range(k, len(row)):
                row[column] -= factor * pivot[column]
    return total


def eigenvalues(matrix: Matrix) -> list[Real]:
    """Those of a symmetric matrix, by rotations that make one entry beside the diagonal 0 at a time.

    Source: G. H. Golub, C. F. Van Loan, "Matrix computations", the Jacobi methods for symmetric eigenvalue problems.
    """
    a = [list(row) for row in matrix]
    size = sum((abs(entry) for row in a for entry in row), start=real(0))
    pairs = [(p, q) for q in range(len(a)) for p in range(q)]
    for _ in range(SWEEPS):
        if all(abs(a[p][q]) <= size * real(2) ** (5 - BITS) for p, q in pairs):
            break
        for p, q in pairs:
            _rotate(a, p, q)
    return [a[k][k] for k in range(len(a))]


def _rotate(a: Matrix, p: int, q: int) -> None:
    """Turn axes p and q, in place, by the angle at which the entry (p, q) becomes 0."""
    if a[p][q] == 0:
        return
    tau = (a[q][q] - a[p][p]) / (2 * a[p][q])
    tangent = (1 if tau >= 0 else -1) / (abs(tau) + sqrt(1 + tau * tau))
    cosine = 1 / sqrt(1 + tangent * tangent)
    sine = tangent * cosine
    for row in a:
        row[p], row[q] = cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]
    a[p], a[q] = (
        [cosine * s - sine * t for s, t in zip(a[p], a[q], strict=True)],
        [sine * s + cosine * t for s, t in zip(a[p], a[q], strict=True)],
    )
