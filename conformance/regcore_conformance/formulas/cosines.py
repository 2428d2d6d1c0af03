"""The largest cosine of each vector, and the mean of all."""

from .arithmetic import Real
from .geometry import least, pairs
from .loops import Formula, Given, cosine, mean, relu, vectors


def max_cosine(given: Given) -> Real:
    """mean over i of the largest cos^2 to another vector; A. Korznikov et al., arXiv:2509.22033."""
    f, every = given.fields, vectors(given)
    nearest = []
    for i in range(len(every)):
        cosines = [cosine(every[i], every[j]) for j in range(len(every)) if j != i]
        nearest.append(max((relu(cos) if f.signed else cos) ** 2 for cos in cosines))
    return mean(nearest) - (least(given, 2) if f.welch else 0)


def mean_cosine(given: Given) -> Real:
    """mean over i != j of cos; K. Ethayarajh, arXiv:1909.00512."""
    every = vectors(given)
    return mean(cosine(every[i], every[j]) for i, j in pairs(every))


FORMULAS: dict[str, Formula] = {"MaxCosine": max_cosine, "MeanCosine": mean_cosine}
