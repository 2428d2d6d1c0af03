"""Mutants of the fields: a penalty that takes another value than the one it was given, in value and gradient alike."""

import dataclasses
import functools
import typing
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import regcore
from regcore.config import own

from .trial import NUMPY, Case, Mutant, Planted


def mutants(penalties: Iterable[str]) -> Iterator[Mutant]:
    """One for each field of each penalty."""
    for name in penalties:
        for field, hint in typing.get_type_hints(own()[name]).items():
            if field in {each.name for each in dataclasses.fields(own()[name])}:
                plant = functools.partial(_plant, field, hint)
                yield Mutant(name, "field", f"{field} is misread", (name,), plant)


def _plant(field: str, hint: Any, case: Case) -> Planted:
    """With the first other value that makes sense; where there is none, as it was."""
    for other in _others(getattr(case.spec, field), hint):
        try:
            with warnings.catch_warnings(action="ignore"):  # that this value makes little sense
                spec: regcore.Penalty = dataclasses.replace(case.spec, **{field: other})
        except (TypeError, ValueError):
            continue
        if spec.shapes() == case.spec.shapes() and spec.inputs() == case.spec.inputs() and _fits(spec, case):
            return case._replace(spec=spec), NUMPY
    return case, NUMPY


def _fits(spec: regcore.Penalty, case: Case) -> bool:
    try:
        NUMPY(spec, case.x, case.params, case.mask)
    except (TypeError, ValueError):
        return False
    return True


def _others(value: Any, hint: Any) -> list[Any]:
    if typing.get_origin(hint) is typing.Literal:
        return [choice for choice in typing.get_args(hint) if choice != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        return [value + 0.0625, value - 0.0625]
    return [0, 1] if value is None else []
