"""Logits of a router, which chooses experts for each token."""

import numpy as np

from .arithmetic import Real, exp, real
from .loops import Formula, Given, counts, lines, mean, positive, total


def load_balance(given: Given) -> Real:
    """experts times the sum of f_i P_i, f regarded as constant; W. Fedus, B. Zoph, N. Shazeer, arXiv:2101.03961."""
    fractions = [_choices(logits, given.fields.top_k) for logits in _tokens(given, given.held["x"])]
    probabilities = [_softmax(logits) for logits in _tokens(given, given.x)]
    experts = given.x.shape[given.fields.feature_axis]
    f = [mean(token[expert] for token in fractions) for expert in range(experts)]
    p = [mean(token[expert] for token in probabilities) for expert in range(experts)]
    return experts * total(f[expert] * p[expert] for expert in range(experts))


def _tokens(given: Given, x: np.ndarray) -> list[list[Real]]:
    every = lines(x.shape, *positive(given.fields.feature_axis, x))
    return [[x[index] for index in line] for line in every if counts(given.mask, line[0])]


def _softmax(logits: list[Real]) -> list[Real]:
    normalizer = total(exp(z) for z in logits)
    return [exp(z) / normalizer for z in logits]


def _choices(logits: list[Real], top_k: int) -> list[Real]:
    """The part of a token's choices that falls on each expert; those that tie for the last places share them."""
    last = sorted(logits, reverse=True)[top_k - 1]
    sure, tied = sum(z > last for z in logits), sum(z == last for z in logits)
    share = real(top_k - sure) / tied
    return [(1 if z > last else share if z == last else real(0)) / real(top_k) for z in logits]


FORMULAS: dict[str, Formula] = {"LoadBalance": load_balance}
