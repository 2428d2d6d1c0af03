"""Samples and their labels."""

from .arithmetic import Real
from .loops import Formula, Given, counts, lines, reduced, total


def center_loss(given: Given) -> Real:
    """1/2 the mean of |x - c_y|^2; Y. Wen, K. Zhang, Z. Li, Y. Qiao, ECCV (2016), there a sum."""
    centers, labels, terms = given.params["centers"], given.params["labels"], []
    for line in lines(given.x.shape, given.x.ndim - 1):
        if counts(given.mask, line[0]):
            center = centers[int(labels[line[0][:-1]])]
            terms.append(total((given.x[index] - center[index[-1]]) ** 2 for index in line) / 2)
    return reduced(given, terms)


FORMULAS: dict[str, Formula] = {"CenterLoss": center_loss}
