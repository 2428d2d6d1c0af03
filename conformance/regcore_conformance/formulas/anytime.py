"""Prefixes of a decision list, y_j = 2^u (1 + s_1/2 + ... + s_j/2^j), with s_0 in place of the 1 if signed."""

from collections.abc import Iterator

from .arithmetic import Real, real
from .loops import Formula, Given, counts, entries, reduced, relu


def prefix_supervision(given: Given) -> Real:
    """mean of ((rho - middle)/width)^2, rho what is left after a prefix, as a multiple of 2^u; the library's own."""
    return reduced(given, (((rho - (low + high) / 2) / (high - low)) ** 2 for rho, low, high in _residuals(given)))


def containment(given: Given) -> Real:
    """mean of (outside/width)^2, outside how far rho is from what later terms can add; the library's own."""
    return reduced(
        given, (((relu(rho - high) + relu(low - rho)) / (high - low)) ** 2 for rho, low, high in _residuals(given))
    )


def decisiveness(given: Given) -> Real:
    """mean 4 s (1 - s); M. Raghavachari (1969), up to the factor."""
    return reduced(given, (4 * s * (1 - s) for s in entries(given.x, given.mask)))


def _residuals(given: Given) -> Iterator[tuple[Real, Real, Real]]:
    """For each sample and each prefix but the last: (y - y_j)/2^u, and from where to where later terms reach."""
    signed = given.fields.signed
    for sample, terms in enumerate(given.x):
        s = list(terms) if signed else [real(1), *terms]
        k = len(s) - 1
        unit = real(2) ** given.params["u"][sample]
        answer = real(0)
        for j in range(k):
            answer += unit * s[j] / 2**j
            tail = sum((real(1) / 2**i for i in range(j + 1, k + 1)), start=real(0))
            if counts(given.mask, (sample,)):
                yield (given.params["y"][sample] - answer) / unit, -tail if signed else real(0), tail


FORMULAS: dict[str, Formula] = {
    "PrefixSupervision": prefix_supervision,
    "Containment": containment,
    "Decisiveness": decisiveness,
}
