"""Two views of the same samples."""

from .arithmetic import Real, sqrt
from .loops import Formula, Given, covariance, total, units, variance


def barlow_twins(given: Given) -> Real:
    """sum (1 - C[i, i])^2 + lambda sum C[i, j]^2 over i != j; J. Zbontar et al., arXiv:2103.03230.

    C[i, j] is the covariance of unit i of one view and unit j of the other, over the roots of their variances + eps.
    """
    f, ours, theirs = given.fields, units(given), units(given._replace(x=given.params["other"]))
    terms = []
    for i, a in enumerate(ours):
        for j, b in enumerate(theirs):
            deviations = sqrt(variance(a, f.correction) + f.eps) * sqrt(variance(b, f.correction) + f.eps)
            correlation = covariance(a, b, f.correction) / deviations
            terms.append((1 - correlation) ** 2 if i == j else f.lambd * correlation**2)
    return total(terms)


FORMULAS: dict[str, Formula] = {"BarlowTwins": barlow_twins}
