"""How active each unit is over a batch; 0 where the mask counts no sample."""

from collections.abc import Iterable

from .arithmetic import Real, exp, log
from .loops import Formula, Given, mean, relu, total, units


def kl_sparsity(given: Given) -> Real:
    """The sum of KL(rho || rate), rate the mean of sigmoid(x); A. Ng, CS294A lecture notes (2011)."""
    rho, terms = given.fields.rho, []
    for unit in _active(given):
        rate = mean(1 / (1 + exp(-x)) for x in unit)
        terms.append(rho * log(rho / rate) + (1 - rho) * log((1 - rho) / (1 - rate)))
    return _reduced(given, terms)


def flops(given: Given) -> Real:
    """The sum of (mean |x|)^2; B. Paria et al., arXiv:2004.05665."""
    return _reduced(given, (mean(abs(x) for x in unit) ** 2 for unit in _active(given)))


def firing_rate_band(given: Given) -> Real:
    """mean of relu(low - rate)^2 + relu(rate - high)^2; after B. Cramer et al., arXiv:1910.07407."""
    low, high = given.fields.low, given.fields.high
    return _reduced(given, (relu(low - mean(unit)) ** 2 + relu(mean(unit) - high) ** 2 for unit in _active(given)))


def dead_units(given: Given) -> Real:
    """mean of relu(threshold - max x)^2; the library's own."""
    return _reduced(given, (relu(given.fields.threshold - max(unit)) ** 2 for unit in _active(given)))


def _active(given: Given) -> list[list[Real]]:
    """The units, or none of them if they have no samples."""
    return [unit for unit in units(given) if unit]


def _reduced(given: Given, terms: Iterable[Real]) -> Real:
    return total(terms) if given.fields.reduction == "sum" else mean(terms)


FORMULAS: dict[str, Formula] = {
    "KLSparsity": kl_sparsity,
    "FLOPS": flops,
    "FiringRateBand": firing_rate_band,
    "DeadUnits": dead_units,
}
