"""What is wrong with the cells of one penalty: which result, where, in which case, and by how many bounds."""

import textwrap
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .bound import Reference
from .cases import Case
from .evaluating import Cell
from .grades import is_exact
from .seconds import Seconds
from .truths import Truth, Truths, described, key, known


class Finding(NamedTuple):
    """One result of one cell, and how far it is from the truth."""

    where: str  # backend, mode and grade
    what: str  # the value, or the gradient by something
    case: str
    ratio: float  # the error in units of the bound: at most 1 is right
    detail: str = ""


def truths(cases: Sequence[Case]) -> dict[str, Truth | str]:
    """The true results of each case: stored, or computed."""
    found: dict[str, Truth | str] = {}
    for case in cases:
        found[case.id] = known(case) or _computed(case)
    return {**found, **{key(case.id, "second"): Seconds(case) for case in cases}}


def _computed(case: Case) -> Reference | str:
    from . import oracle  # which needs gmpy2

    try:
        return oracle.independent(case)
    except Exception as error:  # whatever a penalty raises at 60 digits is wrong with the penalty
        return f"no reference: {type(error).__name__}: {error}"


def findings(backend: str, cells: Iterable[Cell], truths: Truths) -> Iterator[Finding]:
    """Every result of the cells that ran, right or wrong."""
    for cell in cells:
        where, truth = f"{backend} {cell.mode} {cell.grade}", truths[key(cell.case, cell.mode)]
        if cell.status == "error":
            yield Finding(where, "value and gradient", cell.case, np.inf, cell.detail)
        elif cell.status != "ran":
            continue
        elif isinstance(truth, str):
            what = "gradient" if "NoSubgradient" in truth else "value and gradient"
            yield Finding(where, what, cell.case, np.inf, truth)
        else:
            judged = truth.judge(cell.results, exact=is_exact(cell.grade))
            for name, (ratio, detail) in judged.items():
                yield Finding(where, described(name), cell.case, ratio, detail)


def report(wrong: Sequence[Finding], hiding: Container[str]) -> list[str]:
    """A line for each backend, mode, grade and result, with its worst case; masks of some cases are `hiding` NaN."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in wrong:
        groups.setdefault((finding.where, finding.what), []).append(finding)
    lines = []
    for (where, what), group in groups.items():
        worst = max(group, key=lambda finding: finding.ratio)
        many = f" ({len(group)} cases, and this is the worst)" if len(group) > 1 else ""
        hint = " (what the mask hides was NaN, and must not be seen)" if worst.case in hiding else ""
        detail = textwrap.shorten(worst.detail, 400)  # of an error that is a whole page
        lines.append(f"{where}, {what}, {worst.case}{many}: {detail}{hint}")
    return lines
