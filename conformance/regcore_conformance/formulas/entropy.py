"""How much a layer knows about the batch."""

import numpy as np

from .arithmetic import Real, exp, log, pi, real
from .loops import Formula, Given, mean, units, variance


def batch_entropy(given: Given) -> Real:
    """beta (H - max(alpha_min, |alpha|))^2, H the mean of 1/2 log(pi e var + 1); D. Peer et al., arXiv:2208.01134.

    The paper's H has 2 pi e; that is without the 2 in the authors' code, and here.
    """
    f, alpha = given.fields, given.params["alpha"][()]
    entropy = mean(log(pi() * exp(real(1)) * variance(unit, f.correction) + 1) / 2 for unit in units(given))
    floor = real(float(np.float32(f.alpha_min)))  # as alpha is kept in float32
    return f.beta * (entropy - max(floor, abs(alpha))) ** 2


FORMULAS: dict[str, Formula] = {"BatchEntropy": batch_entropy}
