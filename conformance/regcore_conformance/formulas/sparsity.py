"""Sparsity of whole vectors, and of the entries of a vector relative to each other."""

from .arithmetic import Real, real, sqrt
from .loops import Formula, Given, entries, lists, norm, positive, reduced, total


def hoyer_square(given: Given) -> Real:
    """(sum |x|)^2 / sum x^2, 0 for a zero vector; H. Yang, W. Wen, H. Li, arXiv:1908.09979."""
    if given.fields.vector_axis is None:
        return _hoyer(entries(given.x, given.mask))
    every = lists(given.x, positive(given.fields.vector_axis, given.x), given.mask)
    return reduced(given, (_hoyer(vector) for vector in every if vector))


def group_lasso(given: Given) -> Real:
    """mean of sqrt(entries) |x_g| over groups g; M. Yuan, Y. Lin (2006), there a sum."""
    groups = lists(given.x, positive(given.fields.group_axis, given.x), given.mask)
    return reduced(given, (sqrt(real(len(group))) * norm(group) for group in groups if group))


def _hoyer(vector: list[Real]) -> Real:
    square = total(x * x for x in vector)
    return total(abs(x) for x in vector) ** 2 / square if square else real(0)


FORMULAS: dict[str, Formula] = {"HoyerSquare": hoyer_square, "GroupLasso": group_lasso}
