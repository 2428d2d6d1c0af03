"""Mutants of the code: every edit of every penalty's own methods and of the functions beside them."""

import functools
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import regcore
from regcore.config import own

from .. import digits
from .edits import Edit, edits
from .trial import NUMPY, Case, Mutant, Planted, like

Classes = dict[str, type[regcore.Penalty]]

CHECKS = ("__post_init__", "init", "shapes", "inputs", "examples", "value_holding")
CHOICES = ("one_pass", "apart", "_is_frame_potential")  # between ways to the same results


def mutants(penalties: Iterable[str]) -> Iterator[Mutant]:
    """All of these penalties, and of what they share with others of their files, which are tried on these too."""
    chosen = set(penalties)
    for module in dict.fromkeys(own()[name].__module__ for name in penalties):
        names = tuple(name for name, kind in own().items() if kind.__module__ == module)
        for edit in edits(inspect.getsource(sys.modules[module]), CHECKS + CHOICES):
            owner = edit.function.split(".")[0]
            if owner in chosen or owner not in own():
                row, tried = (owner, (owner,)) if owner in own() else (module.rpartition(".")[2], names)
                plant, sixty = functools.partial(_plant, module, edit), functools.partial(_sixty, module, edit)
                yield Mutant(row, "code", str(edit), tried, plant, sixty=sixty)


@functools.lru_cache(1)
def _classes(module: str, edit: Edit) -> Classes:
    edited = types.ModuleType(module)
    edited.__package__ = module.rpartition(".")[0]
    exec(compile(edit.source, str(edit), "exec"), vars(edited))
    return vars(edited)


def _plant(module: str, edit: Edit, case: Case) -> Planted:
    return case._replace(spec=like(case.spec, _classes(module, edit)[type(case.spec).__name__])), NUMPY


def _sixty(module: str, edit: Edit, case: Case) -> Iterator[tuple[Any, Any]]:
    """Value and gradients of the edited code and of the code, at 60 digits."""
    edited, mask = _plant(module, edit, case)[0].spec, None if case.mask is None else digits.asarray(case.mask)
    x, *params = (digits.asarray(array) for array in (case.x, *case.params.values()))
    given = (digits.xp, x, dict(zip(case.params, params, strict=True)))
    (dx, by), (true, true_by) = (spec.grad(*given, mask=mask) for spec in (edited, case.spec))
    yield edited.value(*given, mask=mask), case.spec.value(*given, mask=mask)
    yield dx, true
    yield from ((by[name], true_by[name]) for name in true_by)
