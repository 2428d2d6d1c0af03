"""Variances and covariances of units over the batch."""

from .arithmetic import Real, sqrt
from .loops import Formula, Given, covariance, mean, relu, total, units, variance


def vicreg_variance(given: Given) -> Real:
    """v(Z): mean over units of max(0, gamma - sqrt(var + eps)); A. Bardes, J. Ponce, Y. LeCun, arXiv:2105.04906."""
    f = given.fields
    return mean(relu(f.gamma - sqrt(variance(unit, f.correction) + f.eps)) for unit in units(given))


def vicreg_covariance(given: Given) -> Real:
    """c(Z): 1/d times the sum of C[i, j]^2 over i != j; A. Bardes, J. Ponce, Y. LeCun, arXiv:2105.04906."""
    return _off_diagonal(given) / len(units(given))


def decov(given: Given) -> Real:
    """1/2 (|C|_F^2 - |diag(C)|^2); M. Cogswell et al., arXiv:1511.06068."""
    return _off_diagonal(given) / 2


def _off_diagonal(given: Given) -> Real:
    every = list(enumerate(units(given)))
    return total(covariance(a, b, given.fields.correction) ** 2 for i, a in every for j, b in every if i != j)


FORMULAS: dict[str, Formula] = {"Variance": vicreg_variance, "Covariance": vicreg_covariance, "DeCov": decov}
