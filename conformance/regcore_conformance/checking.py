"""`check(MyPenalty())`: the cases of the suite on one penalty, in this process, for the tests of another package."""

import importlib.util
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import regcore

from . import backends as places
from .cases import Case
from .depth import belongs, is_special, left_out
from .evaluating import Cell, cell
from .grades import GRADES, hides_nan, is_half
from .judging import Finding, findings, report, truths
from .subjects import cases_of

SLOW = "takes seconds for each example: --full"
DEPTHS = ("quick", "default", "full")


class Checked(NamedTuple):
    """What came of a check that found nothing wrong; printed, it is a few lines."""

    penalty: str
    passed: int  # cells: a case in a mode and a grade of a backend
    worst: float  # error of all results, in units of the bound
    worst_in: str
    backends: dict[str, str]  # with their versions and precision policy
    not_run: dict[str, str]  # where, and why

    def __str__(self) -> str:
        worst = f"worst error {self.worst:.2f} of the bound, {self.worst_in}"
        lines = [f"{self.penalty}: {self.passed} cells passed; {worst}"]
        lines += [f"  {name}: {description}" for name, description in self.backends.items()]
        for reason in dict.fromkeys(self.not_run.values()):
            lines.append(f"  not run: {', '.join(w for w, why in self.not_run.items() if why == reason)}: {reason}")
        return "\n".join(lines)


class _Runs(NamedTuple):
    """What was run, and what was not."""

    cells: dict[str, list[Cell]]
    descriptions: dict[str, str]
    not_run: dict[str, str]
    broken: list[str]


def check(
    penalty: regcore.Penalty | type[regcore.Penalty],
    shape: tuple[int, ...] | None = None,
    *,
    inputs: Mapping[str, tuple[int, ...] | np.ndarray] = MappingProxyType({}),
    backends: Iterable[str] | None = None,
    device: str = "cpu",
    grades: Iterable[str] | None = None,
    patterns: Iterable[str] = (),
    depth: str = "default",
) -> Checked:
    """Raise AssertionError unless value and gradient of a penalty are right, within the bound, on every backend.

    They are judged by the value of the penalty at 60 digits and its finite differences, on hostile data. So a gradient
    that is not that of the value is found, NaN at a kink, a mask that is ignored, a call that only NumPy has; a value
    that is wrong in itself is not: compare it with another implementation by `conform`.

    `penalty` is a class or a spec, on its examples, or a spec on arrays of a `shape`, with `inputs` beside them, which
    are arrays or shapes to fill. `backends` are libraries, such as "torch", and names that packages declare: by default
    all that are installed, and those that are named must be there. `device` is "cpu" or "gpu", `grades` are some of
    "float64", "float32" and "exact", and `patterns` some of `cases.PATTERNS`. `depth` is "quick" (next to nothing that
    compiles), "default", or "full" (`torch.compile` and XLA, too).

    The error names the penalty, and for each backend, mode, grade and result the worst case and its error in units of
    the bound. Raises ValueError for options that are unknown, and for a spec without examples and shape; ImportError
    where gmpy2 is not installed.

        def test_my_penalty():
            check(MyPenalty())
    """
    if importlib.util.find_spec("gmpy2") is None:
        raise ImportError("check needs gmpy2 for its 60 digits: pip install 'regcore-array[conformance]'")
    some = _some("grades", GRADES, GRADES if grades is None else grades)
    (depth,) = _some("depth", DEPTHS, [depth])
    required = None if backends is None else list(backends)
    cases = cases_of(penalty, shape, inputs, patterns)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # NaN and infinities are judged
        warnings.simplefilter("ignore", DeprecationWarning)  # which frameworks raise about themselves
        runs = _run(places.chosen(required, device), cases, some, depth)
        true = truths(cases)
    found = [finding for name, cells in runs.cells.items() for finding in findings(name, cells, true)]
    name = str(penalty) if isinstance(penalty, regcore.Penalty) else penalty.__name__
    hiding = {case.id for case in cases if hides_nan(case)}
    return _judged(name, found, runs, [] if required is None else places.chosen(required, device), hiding)


def _judged(penalty: str, found: list[Finding], runs: _Runs, required: list[str], hiding: set[str]) -> Checked:
    wrong = [finding for finding in found if finding.ratio > 1]
    absent = {name: runs.not_run[name] for name in required if name in runs.not_run}
    trouble = [*runs.broken, *(f"{name} was asked for and is not run: {reason}" for name, reason in absent.items())]
    if not found and not trouble:
        trouble.append(f"nothing was run at all: {runs.not_run or 'no backend or grade was chosen'}")
    if wrong or trouble:
        raise AssertionError("\n".join([f"{penalty} does not conform", *trouble, *report(wrong, hiding)]))
    worst = max(found, key=lambda finding: finding.ratio)
    cells = len({(finding.where, finding.case) for finding in found})
    where = f"{worst.where}, {worst.what}, {worst.case}"
    return Checked(penalty, cells, float(worst.ratio), where, runs.descriptions, _why(runs))


def _run(names: list[str], cases: list[Case], grades: list[str], depth: str) -> _Runs:
    runs = _Runs({}, {}, {}, [])
    for name in names:
        try:
            with places.entered(name) as (description, evaluators):
                runs.descriptions[name] = description
                runs.cells[name] = [*_cells(name, evaluators, cases, grades, depth)]
        except (ImportError, places.NotHere) as reason:
            runs.not_run[name] = str(reason)
        except Exception as error:  # of a backend that a package declares
            runs.broken.append(f"{name} does not start: {type(error).__name__}: {error}")
    return runs


def _cells(name: str, evaluators: Any, cases: list[Case], grades: list[str], depth: str) -> Iterator[Cell]:
    for mode, function in evaluators.items():
        for grade, case in itertools.product(grades, cases):
            if belongs(mode, grade, case):
                slow = depth != "full" and mode != "eager" and _is_slow(mode, grade, case)
                reason = SLOW if slow else left_out(depth, name, mode, grade, case)
                yield Cell(mode, grade, case.id, "not run", reason) if reason else cell(mode, function, grade, case)


def _is_slow(mode: str, grade: str, case: Case) -> bool:
    """Each cell is a program of its own here, where the suite has several cases in one."""
    return mode in ("compile", "xla", "vmap") or is_half(grade) or is_special(case)


def _why(runs: _Runs) -> dict[str, str]:
    """Everything that was not run, with the reason."""
    why = dict(runs.not_run)
    for name, cells in runs.cells.items():
        ran = {(c.mode, c.grade) for c in cells if c.status == "ran"}
        for c in cells:
            if c.status in ("not run", "unsupported"):
                part = " in part" if (c.mode, c.grade) in ran else ""
                reason = c.detail.replace("--full", "depth='full'")
                why.setdefault(f"{name} {c.mode} {c.grade}{part}", reason)
    return why


def _some(name: str, known: Iterable[str], given: Iterable[str]) -> list[str]:
    given = list(given)
    if unknown := [each for each in given if each not in known]:
        raise ValueError(f"{name} has {unknown}; choose from {list(known)}")
    return given
