"""A spec as plain JSON data, and back. Nothing that the data names is imported: only known penalties are built."""

import dataclasses
import difflib
import importlib
import pkgutil
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from . import annotations, fields, penalties, plugins
from .composition import Composite, Named, Scaled, Sum
from .options import Added, Coupled, Every, Exact, Plain
from .penalty import Penalty

COMPOSITES: tuple[type[Composite], ...] = (Added, Coupled, Every, Exact, Named, Plain, Scaled, Sum)
DEEPEST = 100  # levels of data in data; far below where Python's own recursion ends


def catalogue() -> dict[str, type[Penalty]]:
    """The penalties by class name: regcore's own, and those of packages with the entry point `regcore.penalties`."""
    taken = {name.casefold() for name in (*public(), *(kind.__name__ for kind in COMPOSITES))}
    return {**own(), **plugins.installed(frozenset(taken))}


def own() -> dict[str, type[Penalty]]:
    """The penalties of regcore by class name: whatever a family in `regcore/penalties` lists in its `__all__`."""
    return {kind.__name__: kind for kind in public().values()}


def public() -> dict[str, type[Penalty]]:
    """The penalties of regcore by every public name; a class may have a second one, as L2 is also AR."""
    families = (
        importlib.import_module(f"{penalties.__name__}.{m.name}") for m in pkgutil.iter_modules(penalties.__path__)
    )
    found = {name: getattr(family, name) for family in families for name in family.__all__}
    return {name: kind for name, kind in found.items() if plugins.is_penalty(kind)}


def to_config(spec: Penalty) -> dict[str, Any]:
    """The spec as JSON-serializable data.

    Raises TypeError for what is no penalty or holds no plain data, and ValueError if it is nested too deep.

    >>> config = to_config(2.0 * TAR(time_axis=0))
    >>> config["type"], config["weight"], config["penalty"]["type"], config["penalty"]["time_axis"]
    ('Scaled', 2.0, 'TAR', 0)
    """
    if not isinstance(spec, Penalty):
        raise TypeError(f"to_config got {reprlib.repr(spec)}; expected a penalty, such as regcore.L2()")
    config: dict[str, Any] = describe(spec)
    return config


def from_config(config: Mapping[str, Any], known: Mapping[str, type[Penalty]] | None = None) -> Penalty:
    """The spec that `to_config` described. `known` adds penalties that no installed package declares, by class name.

    Safe on data from anywhere: it names penalties of the catalogue and plain values, and nothing else can come of it.
    Raises TypeError for data and fields of the wrong type, and ValueError for a penalty that is not known, fields that
    are unknown, missing or out of range, and data nested too deep.

    >>> print(from_config({"type": "TAR", "time_axis": 0}))
    TAR(time_axis=0)
    """
    spec: Penalty = build(config, known_kinds() | dict(known or {}))
    return spec


def known_kinds() -> dict[str, type[Penalty]]:
    """What a config may name: the catalogue, and the classes that compose penalties."""
    return catalogue() | {kind.__name__: kind for kind in COMPOSITES}


def describe(item: Any, depth: int = 0) -> Any:
    """A dataclass of plain data as JSON data: its class under "type", and its fields."""
    if dataclasses.is_dataclass(item):
        _check_depth(depth)
        described = {field.name: describe(getattr(item, field.name), depth + 1) for field in dataclasses.fields(item)}
        return {"type": type(item).__name__, **described}
    if isinstance(item, tuple):
        _check_depth(depth)
        return [describe(part, depth + 1) for part in item]
    if item is None or type(item) in (bool, int, float, str):
        return item
    raise TypeError(f"{reprlib.repr(item)} is no plain data, so it has no JSON form; it is a {type(item).__name__}")


def build(config: Any, kinds: Mapping[str, Any], noun: str = "penalty") -> Any:
    """What `describe` described, if it is one of `kinds`."""
    if not isinstance(config, Mapping):
        raise TypeError(
            f"got {reprlib.repr(config)}, which is a {type(config).__name__}; "
            f"the config of a {noun} is a mapping with its class under 'type'"
        )
    return read(config, kinds, noun)


def read(item: Any, kinds: Mapping[str, Any], noun: str = "penalty", depth: int = 0) -> Any:
    """JSON data as fields take it: lists as tuples, and mappings as what they describe."""
    if isinstance(item, (list, tuple)):
        _check_depth(depth)
        return tuple(read(part, kinds, noun, depth + 1) for part in item)
    if not isinstance(item, Mapping):
        return item
    _check_depth(depth)
    name = item.get("type")
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(
            f"config {reprlib.repr(dict(item))} has the type {reprlib.repr(name)}, which is no known {noun}; "
            f"is it one of {near(name, kinds)}?"
        )
    values = {key: read(value, kinds, noun, depth + 1) for key, value in item.items() if key != "type"}
    return construct(kinds[name], values)


def construct(kind: type, values: Mapping[str, Any]) -> Any:
    """`kind(**values)`, after saying what is unknown, missing or of the wrong type."""
    required = {field.name: _is_required(field) for field in dataclasses.fields(kind) if field.init}
    if unknown := [name for name in values if name not in required]:
        raise ValueError(
            f"{kind.__name__} has the unknown fields {unknown}; it has {near(unknown[0], required)}"
            if required
            else f"{kind.__name__} has the unknown fields {unknown}; it has none"
        )
    if missing := [name for name, needed in required.items() if needed and name not in values]:
        hints = ", ".join(f"{name}: {annotations.text(annotations.of(kind)[name])}" for name in missing)
        raise ValueError(f"{kind.__name__} lacks the fields {missing}, which have no default; give {hints}")
    return kind(**fields.checked(kind, values))


def near(name: object, names: Iterable[str]) -> list[str]:
    """The names most like `name`, or all of them if none is.

    >>> from regcore.config import near
    >>> near("tarr", ["L2", "TAR", "AR"])
    ['TAR', 'AR']
    """
    lower = {known.casefold(): known for known in names}
    matches = difflib.get_close_matches(str(name).casefold(), lower, n=3)
    return [lower[match] for match in matches] or sorted(lower.values())


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"the data is nested more than {DEEPEST} levels deep; a spec needs a few: write it flat")


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
