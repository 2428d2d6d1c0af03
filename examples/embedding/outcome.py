"""What every example comes to: the task loss, the terms, and how far the gradients are from hand-written ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Outcome(NamedTuple):
    """`difference` is the largest between a gradient and the hand-written one, over the largest of the latter."""

    losses: list[float]  # of the task, in each step
    terms: dict[str, float]  # unweighted, in the last step, by <site>/<term>
    difference: float


def difference(ours: Sequence[np.ndarray], by_hand: Sequence[np.ndarray]) -> float:
    apart = max(np.max(np.abs(one - other)) for one, other in zip(ours, by_hand, strict=True))
    return float(apart / max(np.max(np.abs(other)) for other in by_hand))


def show(outcome: Outcome) -> None:
    print(f"task loss   {outcome.losses[0]:.4f} at first, {outcome.losses[-1]:.4f} after {len(outcome.losses)} steps")
    for name, value in outcome.terms.items():
        print(f"{value:11.4f} {name}")
    print(f"{outcome.difference:11.1e} largest difference of a gradient to the hand-written one, relative")
