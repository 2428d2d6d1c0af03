"""How many nats a batch takes."""

from .arithmetic import Real, log_determinant, products
from .loops import Formula, Given, mean, units


def coding_rate(given: Given) -> Real:
    """-1/2 log det(I + d/(n eps^2) X^T X), X with n samples of d units for rows; Y. Yu et al., arXiv:2006.08558."""
    columns = units(given)
    if given.fields.centre:
        columns = [[x - centre for x in column] for column, centre in zip(columns, map(mean, columns), strict=True)]
    n, d = len(columns[0]), len(columns)
    matrix = [[entry * d / (n * given.fields.eps**2) for entry in row] for row in products(columns)]
    for unit in range(d):
        matrix[unit][unit] += 1
    return -log_determinant(matrix) / 2


FORMULAS: dict[str, Formula] = {"CodingRate": coding_rate}
