"""What is wrong with the cells of one penalty: which result, where, in which case, and by how many bounds."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from . import store
from .bound import Reference
from .cases import Case
from .subjects import HIDDEN, same_as
from .worker import Cell

Truths = Mapping[str, Reference | str]  # by case; a text says why there is none


class Finding(NamedTuple):
    """One result of one cell, and how far it is from the truth."""

    where: str  # backend, mode and grade
    what: str  # the value, or the gradient by something
    case: str
    ratio: float  # the error in units of the bound: at most 1 is right
    detail: str = ""


def truths(cases: Iterable[Case]) -> dict[str, Reference | str]:
    """The true results of each case: stored, or computed; and those of another, where a case stands for one."""
    found: dict[str, Reference | str] = {}
    for case in cases:
        stored = found[same_as(case)] if same_as(case) != case.id else store.find(case)
        found[case.id] = stored or _computed(case)
    return found


def _computed(case: Case) -> Reference | str:
    from . import oracle  # which needs gmpy2

    try:
        return oracle.independent(case)
    except Exception as error:  # whatever a penalty raises at 60 digits is wrong with the penalty
        return f"no reference: {type(error).__name__}: {error}"


def findings(backend: str, cells: Iterable[Cell], truths: Truths) -> Iterator[Finding]:
    """Every result of the cells that ran, right or wrong."""
    for cell in cells:
        where, truth = f"{backend} {cell.mode} {cell.grade}", truths[cell.case]
        if cell.status == "error":
            yield Finding(where, "value and gradient", cell.case, np.inf, cell.detail)
        elif cell.status != "ran":
            continue
        elif isinstance(truth, str):
            what = "gradient" if "NoSubgradient" in truth else "value and gradient"
            yield Finding(where, what, cell.case, np.inf, truth)
        else:
            judge = replace(truth, exact=cell.grade == "exact")
            for name in [*judge.results, *sorted(cell.results.keys() - judge.results.keys())]:
                yield Finding(where, _what(name), cell.case, *_error(judge, name, cell.results.get(name)))


def report(wrong: Sequence[Finding]) -> list[str]:
    """A line for each backend, mode, grade and result, with its worst case."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in wrong:
        groups.setdefault((finding.where, finding.what), []).append(finding)
    lines = []
    for (where, what), group in groups.items():
        worst = max(group, key=lambda finding: finding.ratio)
        many = f" ({len(group)} cases, and this is the worst)" if len(group) > 1 else ""
        hint = " (what the mask hides was NaN, and must not be seen)" if worst.case.endswith(HIDDEN) else ""
        detail = textwrap.shorten(worst.detail, 400)  # of an error that is a whole page
        lines.append(f"{where}, {what}, {worst.case}{many}: {detail}{hint}")
    return lines


def _what(name: str) -> str:
    return name if name == "value" else f"gradient by {name}"


def _error(judge: Reference, name: str, actual: np.ndarray | None) -> tuple[float, str]:
    if actual is None or name not in judge.results:
        return np.inf, f"this result is {'missing' if actual is None else 'not expected'}"
    true = judge.results[name]
    if actual.shape != true.shape:
        return np.inf, f"has shape {actual.shape}; expected {true.shape}"
    ratio = judge.worst_ratio({name: actual})
    if ratio <= 1:
        return ratio, ""
    off = np.abs(np.asarray(actual, dtype=np.longdouble) - true)
    at = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
    place = f" at {[int(i) for i in at]}" if at else ""
    detail = f"error is {ratio:.3g} times the bound; got {actual[at]:.9g}{place}, expected {true[at]:.9g}"
    return ratio, detail
