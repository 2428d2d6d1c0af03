"""What happened to the terms of a model, and what is wrong about it."""

from collections.abc import Mapping
from typing import NamedTuple


class Report(NamedTuple):
    """What happened to one term at one site."""

    fired: int  # values that the loss took
    value: float | None  # the last of them, unweighted
    coefficient: float
    reached: bool  # whether backward came through the last of them


def problems(report: Mapping[str, Report]) -> list[str]:
    """A sentence for each term that has no effect, which names it.

    >>> problems({"rnn/L2": Report(fired=3, value=0.5, coefficient=0.0, reached=True)})
    ['rnn/L2 has the coefficient 0, so it has no effect: set another, or remove it']
    """
    found = []
    for name, term in report.items():
        if not term.fired:
            found.append(f"{name} recorded nothing: is its module called, by module(x), where the model trains?")
        elif not term.reached:
            found.append(
                f"{name} got no gradient: was backward called on the total that combine returned, and is what it "
                "penalizes detached?"
            )
        if term.coefficient == 0.0:
            found.append(f"{name} has the coefficient 0, so it has no effect: set another, or remove it")
    return found
