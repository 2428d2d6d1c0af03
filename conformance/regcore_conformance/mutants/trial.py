"""The trial of a mutant: the cases of its penalties, until one of them shows that it is wrong."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import regcore
from regcore.config import own

from .. import edges, expected, oracle, store
from ..bound import Reference
from ..cases import PATTERNS, Case, all_cases
from ..edges import Edge
from ..evaluating import cell
from ..grades import is_exact
from ..runners import Evaluate, array_api
from ..runners.blocks import apart, divides, small
from .asked import asked

GRADES = ("float32", "exact", "float64")
NUMPY = array_api.evaluators(np)["eager"]

EDGES = ("nan", "inf", "huge")

FORMS = ("plain", "one call", "two calls")

Planted = tuple[Case, Evaluate]


class Mutant(NamedTuple):
    """A mistake: for a case of one of its penalties, the case and the evaluate function that make it."""

    row: str  # the penalty, or the file that several share
    kind: str  # "formula", "field", "code" or "gradient"
    text: str  # what the mistake is
    penalties: tuple[str, ...]
    plant: Callable[[Case], Planted]
    grades: tuple[str, ...] = GRADES  # in which it must be found
    sixty: Callable[[Case], Iterator[tuple[Any, Any]]] = lambda case: iter(())  # its results and the right ones


@functools.cache
def cases_of(penalty: str) -> tuple[Case, ...]:
    """All of a penalty, the first pattern of every example first: most mistakes need no more."""
    kind, order = own()[penalty], list(PATTERNS)
    cases = sorted(all_cases([kind]), key=lambda case: order.index(case.id.split("/")[2]))
    at_edges = [case for case in edges.edge_cases([kind]) if edges.edge(case) in EDGES]
    return (*cases, *asked(kind), *at_edges)


@functools.cache
def truth(penalty: str, name: str) -> Reference | Edge:
    """The stored reference of a case, or what may come of one at an edge."""
    case = {case.id: case for case in cases_of(penalty)}[name]
    if edges.edge(case):
        return edges.truth(case)
    return store.find(case) or dataclasses.replace(oracle.independent(case), jumps={}, rough={})  # hit exactly


def tried(mutant: Mutant, grade: str) -> tuple[str, str]:
    """What tells a mutant from the penalty, "value", "gradient", "both" or "error", and in which case; or "" twice.

    By the plain formulas, in small blocks and pieces, and in these by two calls.
    """
    for form in FORMS:
        for penalty in mutant.penalties:
            for case in cases_of(penalty):
                if mutant.kind == "formula" and not is_finite(case):
                    continue
                if form != "plain" and (mutant.kind != "code" or not divides(case.spec, case.x.shape)):
                    continue
                if form != "plain" and expected.to_fail("numpy", "blocks", grade, case.id):
                    continue
                if wrong := wrong_with(mutant, grade, case, truth(penalty, case.id), form):
                    return wrong, case.id
    return "", ""


def is_finite(case: Case) -> bool:
    """Whether real numbers are all there is to a case: no NaN, infinity or overflow."""
    return not edges.edge(case) and bool(np.isfinite(case.x).all())


def wrong_with(mutant: Mutant, grade: str, case: Case, true: Reference | Edge, form: str = "plain") -> str:
    """What is wrong with the results of a mutant in one case."""
    with np.errstate(all="ignore"), small():
        planted, function = mutant.plant(case._replace(plain=form == "plain"))
        came = cell("eager", apart if form == "two calls" else function, grade, planted)
    if came.status != "ran":
        return came.status if came.status == "error" else ""
    judged = true.judge(came.results, exact=is_exact(grade))
    wrong = {"value" if name == "value" else "gradient" for name, (ratio, _) in judged.items() if ratio > 1}
    return "both" if len(wrong) == 2 else "".join(wrong)


def like(spec: regcore.Penalty, kind: type[regcore.Penalty]) -> regcore.Penalty:
    """A spec of another class with the same fields."""
    return kind(**{field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)})
