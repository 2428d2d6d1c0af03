"""The conformance suite of regcore: proof that every library gives the same values and gradients, within a bound.

`check` puts a penalty under test, and `conform` compares plain functions; see docs/conformance.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import Checked as Checked
    from .checking import check as check
    from .comparing import Comparison as Comparison
    from .comparing import conform as conform

_PUBLIC = {"check": "checking", "Checked": "checking", "conform": "comparing", "Comparison": "comparing"}
__all__ = ["Checked", "Comparison", "check", "conform"]


def __getattr__(name: str) -> Any:
    """The public names on first use: the pytest plugin is in this package, and must load nothing when it is unused."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {sorted(_PUBLIC)}")
    import importlib

    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
