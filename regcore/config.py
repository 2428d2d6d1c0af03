"""A spec as plain JSON data, and back. Nothing that the data names is imported: only known penalties are built."""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from . import penalties
from .composition import Added, Composite, Coupled, Exact, Named, Scaled, Sum
from .penalty import Penalty

COMPOSITES: tuple[type[Composite], ...] = (Added, Coupled, Exact, Named, Scaled, Sum)


def catalogue() -> dict[str, type[Penalty]]:
    """The penalties of regcore by class name: whatever a family in `regcore/penalties` lists in its `__all__`."""
    families = (
        importlib.import_module(f"{penalties.__name__}.{m.name}") for m in pkgutil.iter_modules(penalties.__path__)
    )
    found = (getattr(family, name) for family in families for name in family.__all__)
    return {kind.__name__: kind for kind in found}


def to_config(spec: Penalty) -> dict[str, Any]:
    """The spec as JSON-serializable data.

    >>> to_config(2.0 * TAR(time_axis=0))
    {'type': 'Scaled', 'weight': 2.0, 'penalty': {'type': 'TAR', 'time_axis': 0}}
    """
    fields = {field.name: _plain(getattr(spec, field.name)) for field in dataclasses.fields(spec)}
    return {"type": type(spec).__name__, **fields}


def from_config(config: Mapping[str, Any], known: Mapping[str, type[Penalty]] | None = None) -> Penalty:
    """The spec that `to_config` described. `known` adds penalties that are not part of regcore, by class name.

    Raises ValueError for a penalty that is not known and for fields that it does not have.

    >>> from_config({"type": "TAR", "time_axis": 0})
    TAR(time_axis=0)
    """
    kinds: dict[str, type[Penalty]] = {**catalogue(), **{kind.__name__: kind for kind in COMPOSITES}, **(known or {})}
    fields = dict(config)
    name = fields.pop("type", None)
    if name not in kinds:
        near = difflib.get_close_matches(str(name), kinds, n=3) or sorted(kinds)
        raise ValueError(
            f"config {dict(config)} has the type {name!r}, which is no known penalty; is it one of {near}?"
        )
    names = {field.name for field in dataclasses.fields(kinds[name])}
    if unknown := sorted(fields.keys() - names):
        raise ValueError(f"config for {name} has the unknown fields {unknown}; it has {sorted(names)}")
    return kinds[name](**{key: _spec(item, known) for key, item in fields.items()})


def _plain(item: Any) -> Any:
    if isinstance(item, Penalty):
        return to_config(item)
    return [_plain(part) for part in item] if isinstance(item, tuple) else item


def _spec(item: Any, known: Mapping[str, type[Penalty]] | None) -> Any:
    if isinstance(item, Mapping):
        return from_config(item, known)
    return tuple(_spec(part, known) for part in item) if isinstance(item, (list, tuple)) else item
