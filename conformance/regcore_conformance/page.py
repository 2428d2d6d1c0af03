"""The result as one HTML page that needs nothing else: the matrix as a picture, and behind each cell its worst case."""

import html
import json
import shlex
from collections.abc import Hashable, Sequence
from importlib import resources
from typing import Any

from . import report
from .commands import again
from .described import key, pattern
from .environment import environment
from .records import groups
from .suite import Run
from .verdicts import BAD, Verdict

STATUSES = ("not run", "unsupported", "pass", "xfail", "fail", "error")  # the last of those that a group has is its own
EXAMPLE = Verdict("BACKEND", "", "", "CASE/", "", "")  # the page makes its command that of each cell
PARTS = {"/*style*/": "page.css", "/*matrix*/": "matrix.js", "/*details*/": "details.js"}


class Table:
    """Entries by number: each different one is written once."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, entry: Hashable) -> int:
        return self._numbers.setdefault(entry, len(self._numbers))

    def entries(self) -> list[Hashable]:
        return list(self._numbers)


def as_html(run: Run, command: str) -> str:
    """The page. Nothing in it is loaded from elsewhere; texts of frameworks are shown as text."""
    page = _template("page.html")
    for place, name in PARTS.items():
        page = page.replace(place, _template(name))
    wrong = any(v.status in BAD for v in run.verdicts)
    words = {
        "{state}": "failed" if wrong else "passed",
        "{summary}": html.escape(report.counted(run.verdicts)),
        "{command}": html.escape(command),
        "{date}": html.escape(f"{run.date} UTC, {run.took:.0f} s"),
    }
    for place, text in words.items():
        page = page.replace(place, text)
    data = json.dumps(_data(run), separators=(",", ":"), allow_nan=False)
    for character in "<>&":  # so that no text of a framework ends the script
        data = data.replace(character, f"\\u{ord(character):04x}")
    return page.replace("{data}", data)


def _data(run: Run) -> dict[str, Any]:
    by_group = {group: of for group, of in groups(run.verdicts).items() if "/" in of[0].case}
    absent = {v.backend: v.detail for v in run.verdicts if v.status == "not run" and not v.case}
    columns = list(dict.fromkeys(group[:3] for group in by_group))
    penalties = sorted({group[3] for group in by_group})
    cells, cases, texts = Table(), Table(), Table()
    table = [[by_group.get((*way, name), ()) for way in columns] for name in penalties]
    rows = [[cells(_cell(group, run, cases, texts)) for group in row] for row in table]
    return {
        "backends": [[name, run.descriptions.get(name, ""), absent.get(name, "")] for name in _backends(run)],
        "environment": environment(),
        "seconds": {name: round(seconds, 1) for name, seconds in run.seconds.items()},
        "references": report.references(run.sources),
        "seed": run.selection.seed,
        "columns": columns,
        "penalties": penalties,
        "statuses": STATUSES,
        "rows": rows,
        "cells": cells.entries(),
        "cases": cases.entries(),
        "texts": texts.entries(),
        "again": again(EXAMPLE, run.selection),
        "steps": [_step(v, run) for v in run.verdicts if v.case == "step"],
        "bits": _bits(run.verdicts),
    }


def _bits(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    cases = report.distinct(verdicts)
    ways = max((sum(map(len, bits.values())) for bits in cases.values()), default=0)
    return {"cases": len(cases), "ways": ways, "several": {name: of for name, of in cases.items() if len(of) > 1}}


def _backends(run: Run) -> list[str]:
    return list(dict.fromkeys(v.backend for v in run.verdicts))


def _cell(group: Sequence[Verdict], run: Run, cases: Table, texts: Table) -> tuple[Any, ...]:
    """Status, worst error, its case and result, what is wrong; cells by status, and why some of them are not run."""
    if not group:
        return ()
    worst = max(group, key=lambda v: (STATUSES.index(v.status), v.ratio or 0.0))
    counts = tuple(sum(v.status == status for v in group) for status in STATUSES)
    reasons = dict.fromkeys(v.detail for v in group if v.status in report.WITHOUT_RESULT)
    of_reasons = tuple(texts(reason) for reason in reasons)
    if worst.status in ("not run", "unsupported"):
        return (STATUSES.index(worst.status), None, None, None, None, counts, of_reasons)
    case = cases((worst.case, key(worst.case, run.selection.seed), pattern(worst.case), shlex.quote(worst.case)))
    shown = None if worst.ratio is None else f"{worst.ratio:.3g}"  # JSON has no infinity
    return (STATUSES.index(worst.status), shown, case, texts(worst.result), texts(worst.detail), counts, of_reasons)


def _step(v: Verdict, run: Run) -> list[str]:
    ratio = "" if v.ratio is None else f"{v.ratio:.2g}"
    return [v.backend, v.status, ratio, v.detail, again(v, run.selection)]


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("template", name).read_text(encoding="utf-8")
