"""Smooth stand-ins for the number of entries that are not zero."""

from .arithmetic import Real, exp, log, tanh
from .loops import Formula, Given, entries, reduced


def lp(given: Given) -> Real:
    """mean (x^2 + eps)^(p/2); R. Chartrand, W. Yin (2008)."""
    p, eps = given.fields.p, given.fields.eps
    return reduced(given, ((x * x + eps) ** (p / 2) for x in entries(given.x, given.mask)))


def log_sum(given: Given) -> Real:
    """mean log(1 + |x|/eps); E. J. Candes, M. B. Wakin, S. P. Boyd, arXiv:0711.1612."""
    return reduced(given, (log(1 + abs(x) / given.fields.eps) for x in entries(given.x, given.mask)))


def tanh_l0(given: Given) -> Real:
    """mean tanh(scale |x|); A. Jermyn et al., Circuits Updates (February 2024)."""
    return reduced(given, (tanh(given.fields.scale * abs(x)) for x in entries(given.x, given.mask)))


def smoothed_l0(given: Given) -> Real:
    """mean (1 - exp(-x^2 / (2 sigma^2))); H. Mohimani, M. Babaie-Zadeh, C. Jutten, arXiv:0809.2508."""
    sigma = given.fields.sigma
    return reduced(given, (1 - exp(-x * x / (2 * sigma * sigma)) for x in entries(given.x, given.mask)))


FORMULAS: dict[str, Formula] = {"Lp": lp, "LogSum": log_sum, "TanhL0": tanh_l0, "SmoothedL0": smoothed_l0}
