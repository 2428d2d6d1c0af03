"""Change along a time axis that may jump, and change of the size only."""

import itertools

from .arithmetic import Real
from .loops import Formula, Given, counts, lines, norm, positive, reduced


def total_variation(given: Given) -> Real:
    """mean |x[t+1] - x[t]|; L. Rudin, S. Osher, E. Fatemi (1992), in one dimension."""
    (time,) = positive(given.fields.time_axis, given.x)
    terms = []
    for line in lines(given.x.shape, time):
        for now, later in itertools.pairwise(line):
            if counts(given.mask, now) and counts(given.mask, later):
                terms.append(abs(given.x[later] - given.x[now]))
    return reduced(given, terms)


def norm_stabilizer(given: Given) -> Real:
    """mean (|h[t+1]| - |h[t]|)^2; D. Krueger, R. Memisevic, arXiv:1511.08400."""
    (time,), (feature,) = positive(given.fields.time_axis, given.x), positive(given.fields.feature_axis, given.x)
    norms = {line[0]: norm([given.x[index] for index in line]) for line in lines(given.x.shape, feature)}
    sizes = [1 if axis == feature else size for axis, size in enumerate(given.x.shape)]
    terms = []
    for line in lines(sizes, time):
        for now, later in itertools.pairwise(line):
            if counts(given.mask, now) and counts(given.mask, later):
                terms.append((norms[later] - norms[now]) ** 2)
    return reduced(given, terms)


FORMULAS: dict[str, Formula] = {"TotalVariation": total_variation, "NormStabilizer": norm_stabilizer}
