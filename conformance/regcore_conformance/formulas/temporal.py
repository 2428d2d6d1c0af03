"""Change along a time axis."""

from .arithmetic import Real
from .loops import Formula, Given, counts, lines, positive, reduced


def tar(given: Given) -> Real:
    """mean (x[t+1] - x[t])^2, or of differences of these; S. Merity, B. McCann, R. Socher, arXiv:1708.01009."""
    x, mask, order = given.x, given.mask, given.fields.order
    (time,) = positive(given.fields.time_axis, x)
    terms = []
    for line in lines(x.shape, time):
        steps, valid = [x[index] for index in line], [counts(mask, index) for index in line]
        for _ in range(order):
            steps = [steps[t + 1] - steps[t] for t in range(len(steps) - 1)]
        terms += [step * step for t, step in enumerate(steps) if all(valid[t : t + order + 1])]
    return reduced(given, terms)


FORMULAS: dict[str, Formula] = {"TAR": tar}
