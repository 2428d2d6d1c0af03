"""Angles between all vectors."""

from .arithmetic import Real, real
from .loops import Formula, Given, cosine, relu, total, vectors


def orthogonality(given: Given) -> Real:
    """mean over i != j of relu(|cos| - threshold)^power, less the least that it can be, if `welch`.

    J. J. Benedetto, M. Fickus (2003) for power 2; L. Welch (1974) and V. M. Sidelnikov (1974) for the least.
    """
    f, every = given.fields, vectors(given)
    weighted, weights = [], []
    for i, j in pairs(every):
        cos = cosine(every[i], every[j])
        excess = relu((cos if f.signed else abs(cos)) - f.threshold)
        weights.append(_together(given, i, j) if f.coactive else 1)
        weighted.append(weights[-1] * excess**f.power)
    if not sum(weights):
        return real(0)
    return total(weighted) / sum(weights) - (least(given, int(f.power)) if f.welch else 0)


def pairs(every: list[list[Real]]) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(every)) for j in range(len(every)) if i != j]


def _together(given: Given, i: int, j: int) -> int:
    """In how many samples both vectors are active."""
    return sum(bool(sample[i] and sample[j]) for sample in given.params["active"])


def least(given: Given, power: int) -> Real:
    """(m c - 1)/(m - 1) for m vectors of d entries, c = 1/d 3/(d + 2) ... (power - 1)/(d + power - 2)."""
    every = vectors(given)
    m, d, c = len(every), len(every[0]), real(1)
    for odd in range(1, power, 2):
        c = c * odd / (d + odd - 1)
    return relu((m * c - 1) / (m - 1))


FORMULAS: dict[str, Formula] = {"Orthogonality": orthogonality}
