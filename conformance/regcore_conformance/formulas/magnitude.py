"""Size of single entries."""

from .arithmetic import Real
from .loops import Formula, Given, entries, reduced


def l1(given: Given) -> Real:
    """mean |x|; R. Tibshirani (1996)."""
    return reduced(given, (abs(x) for x in entries(given.x, given.mask)))


def l2(given: Given) -> Real:
    """mean x^2; S. Merity, B. McCann, R. Socher, arXiv:1708.01009, by their code a mean."""
    return reduced(given, (x * x for x in entries(given.x, given.mask)))


def elastic_net(given: Given) -> Real:
    """mean (r |x| + (1 - r)/2 x^2), as in J. Friedman, T. Hastie, R. Tibshirani (2010)."""
    ratio = given.fields.l1_ratio
    return reduced(given, (ratio * abs(x) + (1 - ratio) / 2 * x * x for x in entries(given.x, given.mask)))


def spectral_decoupling(given: Given) -> Real:
    """1/2 |x|^2, over the samples; M. Pezeshki et al., arXiv:2011.09468."""
    return reduced(given, (x * x / 2 for x in entries(given.x, given.mask)))


FORMULAS: dict[str, Formula] = {
    "L1": l1,
    "L2": l2,
    "ElasticNet": elastic_net,
    "SpectralDecoupling": spectral_decoupling,
}
