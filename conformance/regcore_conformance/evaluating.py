"""The cells of one backend: every case in every mode and grade, or the reason why not."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from . import edges, long
from .cases import Case
from .depth import belongs, left_out
from .grades import GRADES, check_dtypes, inexact, problem
from .runners import Evaluate, Unsupported
from .runners.bundle import SIZE, Bundle, Mapped, Problem, Results, in_bundles


class Cell(NamedTuple):
    """What came of one case in one mode: results to judge, or the status and the reason that there are none."""

    mode: str
    grade: str
    case: str
    status: str  # "ran", "error", "unsupported" or "not run"
    detail: str = ""
    results: Any = None


def cells(name: str, evaluators: Mapping[str, Evaluate], cases: Sequence[Case], depth: str) -> Iterator[Cell]:
    for mode, function in evaluators.items():
        for grade in GRADES:
            here = []
            for case in cases:
                if belongs(mode, grade, case):
                    if reason := left_out(depth, name, mode, grade, case) or _inexact(grade, case):
                        yield Cell(mode, grade, case.id, "not run", reason)
                    else:
                        here.append(case)
            if isinstance(function, Bundle):
                yield from (cell(mode, function, grade, case) for case in here if edges.is_refused(case))
                yield from _in_bundles(mode, function, grade, [c for c in here if not edges.is_refused(c)])
            elif isinstance(function, Mapped):
                groups = list(_groups(here))
                for i in range(0, len(groups), SIZE):
                    yield from _mapped(mode, function, grade, groups[i : i + SIZE])
            else:
                yield from (cell(mode, function, grade, case) for case in here)


def cells_of(modes: Iterable[str], cases: Sequence[Case]) -> dict[tuple[str, str], int]:
    """How many of them there are in each mode and grade."""
    ways = {(mode, grade): [belongs(mode, grade, case) for case in cases] for mode in modes for grade in GRADES}
    return {way: sum(there) for way, there in ways.items() if any(there)}


def cell(mode: str, function: Evaluate, grade: str, case: Case) -> Cell:
    """One cell, whatever happens. An input that is refused is a result too, for cases that may be."""
    if reason := _inexact(grade, case):
        return Cell(mode, grade, case.id, "not run", reason)
    try:
        given = problem(grade, case)
        return Cell(mode, grade, case.id, "ran", results=_checked(case, given, function(*given)))
    except Unsupported as reason:
        return Cell(mode, grade, case.id, "unsupported", str(reason))
    except Exception as error:  # whatever a backend raises is this cell's outcome, not the end of the suite
        if edges.is_refusal(case, error):
            return Cell(mode, grade, case.id, "ran", str(error), edges.REFUSED)
        return Cell(mode, grade, case.id, "error", f"{type(error).__name__}: {error}")


def _inexact(grade: str, case: Case) -> str:
    return f"{grade.removeprefix('exact ')} does not hold its data" if inexact(grade, case) else ""


def _groups(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Cases that differ in their data only."""
    for _, group in itertools.groupby(cases, lambda case: (case.id.rpartition("/")[0], case.x.shape)):
        yield list(group)


def _in_bundles(mode: str, function: Bundle, grade: str, cases: Sequence[Case]) -> Iterator[Cell]:
    """Cells of several examples at once. Where that fails, they are halved, until what fails stands alone."""
    waiting = in_bundles(_groups(cases))
    while waiting:
        rounds = waiting.pop()
        width = len(rounds[0])
        if width == 1:
            yield from (cell(mode, function, grade, case) for (case,) in rounds)
            continue
        try:
            given = [[problem(grade, case) for case in cases] for cases in rounds]
            evaluated = map(function.together, given)
            done = [list(_ran(mode, grade, *each)) for each in zip(rounds, given, evaluated, strict=True)]
        except Exception:
            waiting += [[cases[: width // 2] for cases in rounds], [cases[width // 2 :] for cases in rounds]]
            continue
        yield from itertools.chain.from_iterable(done)


def _mapped(mode: str, function: Mapped, grade: str, groups: Sequence[Sequence[Case]]) -> Iterator[Cell]:
    """Cells of all data of an example as one batch; where that fails, one by one."""
    given = [[problem(grade, case) for case in group] for group in groups]
    try:
        evaluated = function.together(given)
        done = [list(_ran(mode, grade, *group)) for group in zip(groups, given, evaluated, strict=True)]
    except Exception:
        done = [[cell(mode, function, grade, case) for case in group] for group in groups]
    yield from itertools.chain.from_iterable(done)


def _ran(
    mode: str, grade: str, cases: Sequence[Case], given: Sequence[Problem], evaluated: Sequence[Results]
) -> Iterator[Cell]:
    for case, one, results in zip(cases, given, evaluated, strict=True):
        yield Cell(mode, grade, case.id, "ran", results=_checked(case, one, results))


def _checked(case: Case, given: Problem, results: Results) -> Results:
    check_dtypes(given, results)
    return long.compact(case, results) if long.is_long(case) else results
