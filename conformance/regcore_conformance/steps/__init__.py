"""One SGD step of the same regularized layer through every adapter, from the same weights on the same data.

    h = x W + b,  total = mean((h - target)**2) * (1 + batch_entropy(h, alpha)) + 0.5 * mean(h**2)

Each module has `step(problem)`, which returns what W, b and alpha are afterwards.
"""

from typing import Any, NamedTuple

import numpy as np

import regcore

from ..bound import Reference, reference_of
from ..generator import bell

RATE = 0.125
SPEC = 0.5 * regcore.L2() + regcore.BatchEntropy(alpha=0.75)
ALPHA = "BatchEntropy_alpha"


class Problem(NamedTuple):
    """Data and initial weights, in float32."""

    x: np.ndarray
    target: np.ndarray
    W: np.ndarray
    b: np.ndarray


PROBLEM = Problem(*(bell(seed, shape).astype(np.float32) for seed, shape in enumerate([(8, 5), (8, 4), (5, 4), (4,)])))


def truth() -> Reference:
    """The step by the closed forms alone, in long double, with its noise scale."""

    def formula(xp: Any, convert: Any) -> list[Any]:
        x, target, W, b, alpha = (convert(array) for array in (*PROBLEM, SPEC.init()[ALPHA]))
        h = xp.matmul(x, W) + b
        residual = h - target
        task = xp.sum(residual * residual) / residual.size
        size, entropy = (term.penalty for term in SPEC.terms())
        factor = 1 + entropy.value(xp, h, {"alpha": alpha})
        by_h, by_params = entropy.grad(xp, h, {"alpha": alpha})
        dh = factor * (2 / residual.size) * residual + task * by_h + 0.5 * size.grad(xp, h, {})[0]
        return [
            W - RATE * xp.matmul(xp.matrix_transpose(x), dh),
            b - RATE * xp.sum(dh, axis=0),
            alpha - RATE * task * by_params["alpha"],
        ]

    return reference_of(formula, ["W", "b", "alpha"], exact=False)
