"""What the results of a case are judged by: a reference, or what may come of it at an edge of the domain."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from . import edges, long, store
from .bound import Judged
from .cases import Case
from .evaluating import Cell
from .grades import is_exact
from .seconds import Seconds


class Truth(Protocol):
    def judge(self, results: Mapping[str, np.ndarray], *, exact: bool) -> dict[str, Judged]:
        """For each result, and for each that is missing, its error in units of the bound and what is wrong."""


Truths = Mapping[str, Truth | str]  # by `key`; a text says why there is none


def key(case: str, mode: str) -> str:
    """Second derivatives have a truth of their own."""
    return f"{case} second" if mode == "second" else case


def known(case: Case, mode: str = "") -> Truth | None:
    """What is stored, or follows from the case; None if a reference has to be computed."""
    if mode == "second":
        return Seconds(case)
    if long.is_long(case):
        return long.truth(case)
    return edges.truth(case) if edges.edge(case) else store.find(case)


def worst(truth: Truth, cell: Cell) -> tuple[str, Judged]:
    """The result of a cell that is furthest from the truth."""
    judged = truth.judge(cell.results, exact=is_exact(cell.grade))
    name = max(judged, key=lambda name: judged[name].ratio)
    return described(name), judged[name]


def described(result: str) -> str:
    return {"value": "value", "second": "second derivative"}.get(result, f"gradient by {result}")
