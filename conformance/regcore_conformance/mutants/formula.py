"""Mutants of the formulas: every edit of every transcription, wrong in value and, by differences, in gradient alike."""

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np

import regcore

from .. import digits, formulas, oracle
from ..cases import UPSTREAM
from ..formulas import loops
from ..runners import floating
from .edits import edits
from .trial import NUMPY, Case, Mutant, Planted, like, truth

LOOPS = {"mean", "relu", "reduced", "norm", "variance", "covariance", "cosine"}  # the rest is in which order to count
Namespace = dict[str, Any]
Results = dict[str, Any]
Formulas = dict[str, formulas.Formula]


def mutants(penalties: Iterable[str]) -> Iterator[Mutant]:
    """Edits of what each penalty's transcription comes to call in its file, and in the loops that all of them share."""
    chosen, used = list(penalties), {name: _used(name) for name in formulas.FORMULAS}
    for name in chosen:
        for edit in edits(inspect.getsource(_module(name))):
            if edit.function in used[name]:
                yield _mutant(name, str(edit), [name], functools.partial(_with, [name], edit.source, None))
    for edit in edits(inspect.getsource(loops)):
        users = [name for name in used if edit.function in used[name] & LOOPS]
        if set(users) & set(chosen):
            yield _mutant("loops", str(edit), users, functools.partial(_with, users, None, edit.source))


def unedited(penalty: str) -> Mutant:
    """The transcription as it is, which must pass."""
    return _mutant(penalty, "as it is", [penalty], lambda: {penalty: formulas.FORMULAS[penalty]})


def _mutant(row: str, text: str, names: list[str], make: Callable[[], Formulas]) -> Mutant:
    make = functools.cache(make)  # when it is asked for
    sixty = functools.partial(_sixty, make)
    return Mutant(row, "formula", text, tuple(names), functools.partial(_plant, make, {}), sixty=sixty)


def _with(names: list[str], source: str | None, of_loops: str | None) -> Formulas:
    """Transcriptions from this source of their file, or with loops from that one."""
    others = _run(loops, of_loops) if of_loops else None
    return {name: _run(_module(name), source, others)["FORMULAS"][name] for name in names}


def _sixty(make: Callable[[], Formulas], case: Case) -> Iterator[tuple[Any, Any]]:
    """The value of the edited transcription and of the transcription."""
    arrays = {name: digits.asarray(array) for name, array in {"x": case.x, **case.params}.items()}
    true = oracle.transcribed(case, arrays, arrays)
    with mock.patch.dict(formulas.FORMULAS, make()):
        yield oracle.transcribed(case, arrays, arrays), true


def _module(name: str) -> types.ModuleType:
    return sys.modules[formulas.FORMULAS[name].__module__]


def _used(name: str) -> set[str]:
    """The functions of its file and of the loops that a transcription comes to call."""
    names, found, waiting = vars(_module(name)), set(), [formulas.FORMULAS[name].__name__]
    while waiting:
        function = waiting.pop()
        each = names.get(function) or vars(loops).get(function)
        if isinstance(each, types.FunctionType) and function not in found:
            found.add(function)
            codes = [each.__code__, *filter(inspect.iscode, each.__code__.co_consts)]
            waiting += [called for code in codes for called in code.co_names]
    return found


def _run(module: types.ModuleType, source: str | None, others: Namespace | None = None) -> Namespace:
    """The names that a source, or its own, defines in the place of a module, with those of the loops from `others`."""
    edited = types.ModuleType(module.__name__)
    edited.__package__ = module.__package__
    exec(compile(source or inspect.getsource(module), module.__name__, "exec"), vars(edited))
    for name, each in (others or {}).items():
        if not name.startswith("__") and vars(edited).get(name, each) is vars(loops).get(name):
            setattr(edited, name, each)
    return vars(edited)


def _plant(make: Callable[[], Formulas], kept: dict[str, Results], case: Case) -> Planted:
    """A spec with the results of the edited transcription, which are computed once for all grades, and `kept`."""

    def results() -> Results:
        if case.id not in kept:
            with mock.patch.dict(formulas.FORMULAS, make()), digits.precision():
                kept[case.id] = _results(case)
        return kept[case.id]

    return case._replace(spec=_stating(case.spec, results)), NUMPY


def _stating(spec: regcore.Penalty, results: Callable[[], Results]) -> regcore.Penalty:
    """A spec like this one, whose value and gradient are these numbers."""

    class Stated(type(spec)):
        def value(self, xp: Any, x: Any, params: Any, **options: Any) -> Any:
            return xp.asarray(results()["value"], dtype=x.dtype)

        def grad(self, xp: Any, x: Any, params: Any, **options: Any) -> Any:
            by = {name: xp.asarray(array, dtype=x.dtype) for name, array in results().items() if name != "value"}
            return by.pop("x"), by

    return like(spec, Stated)


def _results(case: Case) -> Results:
    """The value and its central differences, as a reference has them."""
    true = truth(type(case.spec).__name__, case.id)
    arrays = {name: digits.asarray(array) for name, array in {"x": case.x, **case.params}.items()}
    centre = oracle.transcribed(case, arrays, arrays)
    results = {"value": np.float64(centre)}
    for name in ["x", *floating(case.params)]:
        results[name] = np.empty(arrays[name].shape, dtype=np.longdouble)
        for index, *sides in oracle.differences(case, oracle.transcribed, arrays, name, centre):
            chosen = true.results[name][index]
            results[name][index] = _slope(*sides, chosen, 1 + abs(centre)) / UPSTREAM
    return results


def _slope(low: Any, high: Any, chosen: np.longdouble, size: Any) -> float:
    """At a kink what was chosen for the right formula, if that is between the slopes of this one, too."""
    try:
        return oracle.entry(low, high, chosen, size, "")[1]
    except oracle.NoSubgradient:
        return float((low + high) / 2)
