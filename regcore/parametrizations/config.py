"""A parametrization as plain JSON data, and back. Only the known ones are built."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from . import pairs, positive, signed, simplex
from .parametrization import Parametrization


def catalogue() -> dict[str, type[Parametrization]]:
    """The parametrizations of regcore by class name."""
    return {name: getattr(module, name) for module in (positive, signed, simplex, pairs) for name in module.__all__}


def to_config(parametrization: Parametrization) -> dict[str, Any]:
    """The parametrization as JSON-serializable data.

    >>> from regcore.parametrizations import FixedSign, Square, to_config
    >>> to_config(FixedSign(inner=Square()))
    {'type': 'FixedSign', 'inner': {'type': 'Square'}}
    """
    values = {field.name: getattr(parametrization, field.name) for field in dataclasses.fields(parametrization)}
    plain = {name: to_config(v) if isinstance(v, Parametrization) else v for name, v in values.items()}
    return {"type": type(parametrization).__name__, **plain}


def from_config(config: Mapping[str, Any], known: Mapping[str, type[Parametrization]] | None = None) -> Parametrization:
    """The parametrization that `to_config` described. `known` adds some that are not part of regcore, by class name.

    Raises ValueError for one that is not known and for fields that it does not have.

    >>> from regcore.parametrizations import from_config
    >>> from_config({"type": "Softmax", "axis": 0})
    Softmax(axis=0)
    """
    kinds = {**catalogue(), **(known or {})}
    fields = dict(config)
    name = fields.pop("type", None)
    if name not in kinds:
        near = difflib.get_close_matches(str(name), kinds, n=3) or sorted(kinds)
        raise ValueError(
            f"config {dict(config)} has the type {name!r}, which is no known parametrization; is it one of {near}?"
        )
    names = {field.name for field in dataclasses.fields(kinds[name])}
    if unknown := sorted(fields.keys() - names):
        raise ValueError(f"config for {name} has the unknown fields {unknown}; it has {sorted(names)}")
    return kinds[name](**{key: from_config(v, known) if isinstance(v, Mapping) else v for key, v in fields.items()})
