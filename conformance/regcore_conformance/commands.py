"""The command lines of runs: the one that was given, and the one that runs a single cell again."""

import shlex
from collections.abc import Iterable

from .selection import Selection
from .verdicts import Verdict

START = "python -m regcore_conformance"


def of_run(only: Iterable[str], selection: Selection) -> str:
    """The command of a whole run, of these backends (all, if none are given), without the files that it writes."""
    depth = "" if selection.depth == "default" else f" --{selection.depth}"
    return f"{START}{depth}{_some('only', only)}{_some('penalties', selection.penalties)}{_given(selection)}"


def again(v: Verdict, selection: Selection) -> str:
    """The command that runs just this cell again, in all modes and grades of its backend."""
    if "/" not in v.case:  # the step of an adapter, or a backend that did not start
        depth = "" if selection.depth == "default" else f" --{selection.depth}"
        some = _some("penalties", selection.penalties) + _given(selection)
        return f"{START} --only {v.backend}" + (f"{depth}{some}" if v.mode == "start" else "")
    return f"{START} --only {v.backend}{_given(selection._replace(ids=(v.case,)))} --full"


def _given(selection: Selection) -> str:
    seed, plain = f" --seed {selection.seed}" if selection.seed else "", " --plain" if selection.plain else ""
    return _some("cases", selection.ids) + seed + plain


def _some(option: str, values: Iterable[str]) -> str:
    values = list(values)
    return f" --{option} {shlex.join(values)}" if values else ""
