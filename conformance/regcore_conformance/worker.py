"""A process of its own for a backend: evaluates every cell and leaves what came out in a file."""

import importlib
import itertools
import pickle
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import regcore
from regcore.config import catalogue

from . import backends, steps, store
from .cases import Case, all_cases
from .depth import left_out
from .runners import Evaluate, Unsupported
from .runners.bundle import Bundle, Problem, in_bundles

GRADES = {"float64": (np.float64, False), "float32": (np.float32, False), "exact": (np.float32, True)}


class Cell(NamedTuple):
    """What came of one case in one mode: results to judge, or the status and the reason that there are none."""

    mode: str
    grade: str
    case: str
    status: str  # "ran", "error", "unsupported" or "not run"
    detail: str = ""
    results: Any = None


class Outcome(NamedTuple):
    """What came of one worker; `not_run` says why, if it could not start."""

    name: str
    description: str = ""
    cells: tuple[Cell, ...] = ()
    not_run: str = ""


ADAPTERS = {
    "regcore_torch": "torch",
    "regcore_flax": "flax",
    "regcore_keras:tensorflow": "keras",
    "regcore_keras:jax": "keras",
    "regcore_keras:torch": "keras",
}


def names() -> list[str]:
    """The backends and adapters that there are to run, those of installed packages too."""
    return [*dict.fromkeys([*backends.chosen(), *backends.chosen(device="gpu"), "tensorflow:gpu"]), *ADAPTERS]


def evaluate(name: str, cases: list[Case], *, depth: str) -> Outcome:
    """Every case in every mode and grade of one backend, or the reason why there is none."""
    try:
        with backends.entered(name) as (description, evaluators):
            return Outcome(name, description, tuple(_cells(name, evaluators, cases, depth)))
    except (ImportError, backends.NotHere) as reason:
        return Outcome(name, not_run=str(reason))


def _cells(name: str, evaluators: dict[str, Evaluate], cases: list[Case], depth: str) -> Iterator[Cell]:
    for mode, function in evaluators.items():
        for grade in GRADES:
            reasons = {case.id: left_out(depth, name, mode, grade, case.id) for case in cases}
            yield from (Cell(mode, grade, case, "not run", reason) for case, reason in reasons.items() if reason)
            here = [case for case in cases if not reasons[case.id]]
            if isinstance(function, Bundle):
                yield from _in_bundles(mode, function, grade, here)
            else:
                yield from (_cell(mode, function, grade, case) for case in here)


def _in_bundles(mode: str, function: Bundle, grade: str, cases: list[Case]) -> Iterator[Cell]:
    """Cells of several examples at once. Where that fails, they are halved, until what fails stands alone."""
    groups = (list(group) for _, group in itertools.groupby(cases, lambda c: (c.id.rpartition("/")[0], c.x.shape)))
    waiting = in_bundles(groups)
    while waiting:
        rounds = waiting.pop()
        width = len(rounds[0])
        if width == 1:
            yield from (_cell(mode, function, grade, case) for (case,) in rounds)
            continue
        try:
            evaluated = [function.together([_problem(grade, case) for case in cases]) for cases in rounds]
        except Exception:
            waiting += [[cases[: width // 2] for cases in rounds], [cases[width // 2 :] for cases in rounds]]
            continue
        for cases, several in zip(rounds, evaluated, strict=True):
            yield from (Cell(mode, grade, c.id, "ran", results=of) for c, of in zip(cases, several, strict=True))


def _cell(mode: str, function: Evaluate, grade: str, case: Case) -> Cell:
    try:
        return Cell(mode, grade, case.id, "ran", results=function(*_problem(grade, case)))
    except Unsupported as reason:
        return Cell(mode, grade, case.id, "unsupported", str(reason))
    except Exception as error:  # whatever a backend raises is this cell's outcome, not the end of the suite
        return Cell(mode, grade, case.id, "error", f"{type(error).__name__}: {error}")


def _problem(grade: str, case: Case) -> Problem:
    dtype, exact = GRADES[grade]
    spec = regcore.exact(case.spec) if exact else case.spec
    return Problem(spec, case.x.astype(dtype), case.params, case.mask)


def adapt(name: str, *, depth: str) -> Outcome:
    """The step of one adapter."""
    if depth == "quick":
        return Outcome(name, not_run="left out by --quick")
    try:
        step = importlib.import_module(f"{steps.__name__}.{ADAPTERS[name]}").step
    except ImportError as reason:
        return Outcome(name, not_run=str(reason))
    try:
        return Outcome(name, "one SGD step", (Cell("step", "float32", "step", "ran", results=step(steps.PROBLEM)),))
    except Exception as error:  # as above
        return Outcome(
            name, "one SGD step", (Cell("step", "float32", "step", "error", f"{type(error).__name__}: {error}"),)
        )


def truths(part: str, cases: list[Case]) -> dict[str, Any]:
    """The references that are not stored, of every n-th case, or what is wrong with a formula that has none.

    `part` is "oracle i n".
    """
    from . import oracle

    first, step = map(int, part.split()[1:])
    found: dict[str, Any] = {}
    for case in [case for case in cases if store.find(case) is None][first::step]:
        try:
            found[case.id] = oracle.independent(case)
        except Exception as error:  # as above
            found[case.id] = f"no reference: {type(error).__name__}: {error}"
    return found


def main() -> None:
    """The arguments are names, separated by commas, the file to leave outcomes in, a depth, and some penalties."""
    names, path, depth, *penalties = sys.argv[1:]
    cases = list(all_cases(catalogue()[penalty] for penalty in penalties))
    outcomes: dict[str, Any] = {}
    for name in names.split(","):
        if name.startswith("oracle"):
            outcomes[name] = truths(name, cases)
        else:
            outcomes[name] = adapt(name, depth=depth) if name in ADAPTERS else evaluate(name, cases, depth=depth)
    with open(path, "wb") as file:
        pickle.dump(outcomes, file)
