"""A verdict for each cell: its error in units of the bound, or the reason why it has none."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from . import expected, steps
from .evaluating import Cell
from .seconds import Seconds
from .truths import Truth, Truths, key, worst
from .worker import Outcome

BAD = ("fail", "error")  # statuses


class Verdict(NamedTuple):
    """A cell's status, "pass", "fail", "error", "xfail", "unsupported" or "not run", and its error over the bound."""

    backend: str
    mode: str
    grade: str
    case: str
    status: str
    detail: str
    ratio: float | None = None
    results: Any = None
    result: str = ""  # the one that is furthest off, such as "value" or "gradient by x"


def judge(outcomes: Iterable[Outcome], truths: Truths) -> list[Verdict]:
    """Each cell against the truth, in units of the bound."""
    truths = {**truths, "step": steps.truth()}
    verdicts = []
    for outcome in outcomes:
        if outcome.not_run:
            verdicts.append(Verdict(outcome.name, "", "", "", "not run", outcome.not_run))
        verdicts += [
            verdict(outcome.name, cell, truths.get(key(cell.case, cell.mode), "no reference")) for cell in outcome.cells
        ]
    return verdicts


def verdict(backend: str, cell: Cell, truth: Truth | str) -> Verdict:
    """One cell against its truth, or against the reason why there is none."""
    if cell.status != "ran":
        return Verdict(backend, *cell[:5])
    if isinstance(truth, str):
        return Verdict(backend, *cell[:3], "error", truth, results=cell.results)
    name, (ratio, wrong) = worst(truth, cell)
    if reason := expected.to_fail(backend, *cell[:3]):
        if ratio > 1:
            return Verdict(backend, *cell[:3], "xfail", reason)
        return Verdict(backend, *cell[:3], "fail", f"is right, and was expected to be wrong: {reason}", ratio)
    if ratio > 1 and isinstance(truth, Seconds) and (reason := expected.may_fail(cell.mode, truth.case)):
        return Verdict(backend, *cell[:3], "xfail", reason)
    status, detail = ("fail", f"{name}: {wrong}") if ratio > 1 else ("pass", "")
    return Verdict(backend, *cell[:3], status, detail, ratio, cell.results, name)
