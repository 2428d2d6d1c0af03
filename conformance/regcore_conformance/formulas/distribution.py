"""Logits of a softmax over classes."""

from .arithmetic import Real, exp, log
from .loops import Formula, Given, counts, lines, positive, reduced, total


def z_loss(given: Given) -> Real:
    """mean (log sum exp z)^2; B. Zoph et al., arXiv:2202.08906."""
    return reduced(given, (log(total(exp(z) for z in logits)) ** 2 for logits in _positions(given)))


def confidence_penalty(given: Given) -> Real:
    """mean of minus the entropy, sum p log p; G. Pereyra et al., arXiv:1701.06548."""
    terms = []
    for logits in _positions(given):
        normalizer = total(exp(z) for z in logits)
        probabilities = [exp(z) / normalizer for z in logits]
        terms.append(total(p * log(p) for p in probabilities if p != 0))
    return reduced(given, terms)


def _positions(given: Given) -> list[list[Real]]:
    """The logits of each position that counts."""
    every = lines(given.x.shape, *positive(given.fields.feature_axis, given.x))
    return [[given.x[index] for index in line] for line in every if counts(given.mask, line[0])]


FORMULAS: dict[str, Formula] = {"ZLoss": z_loss, "ConfidencePenalty": confidence_penalty}
