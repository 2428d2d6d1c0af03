"""Penalties of other packages, which declare them under the entry point group `regcore.penalties`.

In the `pyproject.toml` of such a package, a class, or a module whose `__all__` lists classes:

    [project.entry-points."regcore.penalties"]
    MyPenalty = "my_package.penalties:MyPenalty"
"""

import functools
import importlib.metadata
import inspect
import warnings
from types import ModuleType
from typing import Any

from .penalty import Penalty

GROUP = "regcore.penalties"


@functools.cache
def installed(taken: frozenset[str]) -> dict[str, type[Penalty]]:
    """The penalties that installed packages declare, by class name, but for names that are `taken` (in lower case).

    This imports those packages, once. Whatever is wrong with one is a RuntimeWarning that names it; the others are
    found all the same.
    """
    found: dict[str, type[Penalty]] = {}
    lower: dict[str, type[Penalty] | None] = dict.fromkeys(taken)
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            kinds = declared(entry.load())
        except Exception as error:  # whatever importing someone else's code may raise
            _warn(entry, f"cannot be loaded ({type(error).__name__}: {error})")
            continue
        for kind in kinds:
            if lower.setdefault(kind.__name__.casefold(), kind) is kind:
                found[kind.__name__] = kind
            else:
                _warn(entry, f"has the name {kind.__name__!r}, which is taken: rename the class")
    return found


def declared(entry: Any) -> list[type[Penalty]]:
    """The concrete penalties that a class is, or that a module lists in `__all__`.

    TypeError if there are none, and for one without examples.
    """
    listed = [getattr(entry, name) for name in entry.__all__] if isinstance(entry, ModuleType) else [entry]
    kinds = [kind for kind in listed if is_penalty(kind)]
    if not kinds:
        raise TypeError(
            f"it is {entry!r}; expected a class derived from regcore.Penalty, or a module with some in __all__"
        )
    if bare := [kind.__name__ for kind in kinds if next(kind.examples(), None) is None]:
        raise TypeError(f"{bare} gives no examples, so nothing can be said of it or tested")
    return kinds


def is_penalty(kind: Any) -> bool:
    """Whether it is a class of penalties that can be built."""
    return isinstance(kind, type) and issubclass(kind, Penalty) and not inspect.isabstract(kind)


def _warn(entry: importlib.metadata.EntryPoint, trouble: str) -> None:
    package = entry.dist.name if entry.dist else "an unknown package"
    warnings.warn(
        f"the penalty {entry.name} = {entry.value!r} of the package {package!r} {trouble}; it is left out",
        RuntimeWarning,
        stacklevel=3,
    )
