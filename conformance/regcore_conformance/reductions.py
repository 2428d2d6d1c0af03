"""How far long sums are from the truth beside what is allowed, which in the fast grades grows with their length."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import long
from .bound import LONG, K
from .grades import is_exact
from .verdicts import Verdict


class Reduction(NamedTuple):
    """The worst K that a long case came to in a grade, over backends and modes, beside the K that the bound allows."""

    case: str
    grade: str
    terms: int
    allowed: float
    observed: float
    where: str


def reductions(verdicts: Iterable[Verdict], seed: int) -> list[Reduction]:
    """A row for each long case and fast grade that ran; the K that is observed counts from the plain rounding on.

    It is 8 times the error in units of the bound for short sums.
    """
    cells = [v for v in verdicts if v.case in long.SPECS and v.results is not None and not is_exact(v.grade)]
    truths = {case.id: long.truth(case).reference() for case in (long.long_cases(seed=seed) if cells else ())}
    found = []
    for case, grade in dict.fromkeys((v.case, v.grade) for v in cells):
        truth = truths[case]
        short = dataclasses.replace(truth, longest=0)
        worst = {f"{v.backend} {v.mode}": K * _worst(short, v) for v in cells if (v.case, v.grade) == (case, grade)}
        where = max(worst, key=lambda name: worst[name])
        found.append(Reduction(case, grade, truth.longest, K * max(1, truth.longest / LONG), worst[where], where))
    return found


def table(found: Sequence[Reduction]) -> list[list[str]]:
    """Rows of text, one for each case, with a column for each grade; none, if no long case ran."""
    grades = list(dict.fromkeys(one.grade for one in found))
    rows = [["case", "terms", "K allowed", *grades]] if found else []
    for case in dict.fromkeys(one.case for one in found):
        of = {one.grade: one for one in found if one.case == case}
        first = next(iter(of.values()))
        shown = [f"{of[grade].observed:.2f}" if grade in of else "-" for grade in grades]
        rows.append([case, f"{first.terms:,}", f"{first.allowed:,.0f}", *shown])
    return rows


def _worst(truth: long.Reference, verdict: Verdict) -> float:
    judged = truth.judge(verdict.results, exact=False)
    return max(ratio for ratio, _ in judged.values())
