"""Recorded runs as a page of Markdown: `python -m regcore_conformance.tables FILE.json ...` prints it.

For each backend, device, mode and grade it has the worst error in units of the bound.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .backends import LIBRARIES
from .records import FORMAT
from .reductions import Reduction, table
from .verdicts import BAD

STATUSES = ("pass", "fail", "error", "xfail", "unsupported", "not run")
HEAD = """# Recorded runs

The worst error of each backend in units of the bound of [numerics.md](numerics.md), over all penalties, examples and
data: at most 1 is right. A dash is what was not run, or what the library cannot do. "Cells" are those that ran,
and "xfail" of them are known to be wrong, for a reason that each run prints.

`python -m regcore_conformance --json docs/results/NAME.json` records a run; [conformance.md](conformance.md) says what
the file has. This page is what

    python -m regcore_conformance.tables docs/results/*.json > docs/results.md

makes of the records."""
GPU = [*dict.fromkeys([*(name for devices in LIBRARIES.values() for name in devices.get("gpu", ())), "tensorflow:gpu"])]


def markdown(records: Mapping[str, Any]) -> str:
    """The page for these records, by name."""
    sections = [HEAD, *(_section(name, record) for name, record in records.items()), _gpus(records.values())]
    return "\n\n".join(section for section in sections if section)


def _section(name: str, record: Mapping[str, Any]) -> str:
    place, count = record["environment"], record["summary"]
    versions = [f"Python {place['python']}", f"regcore {place['regcore']}", *record["backends"].values()]
    lines = [
        f"## {name}",
        f"{record['date']} UTC, {record['seconds']:.0f} s, `{record['command']}`, on {place['cpu']}, "
        f"{place['gpu'] or 'no GPU'}, {place['platform']}.",
        f"{'; '.join(dict.fromkeys(versions))}.",
        ", ".join(f"{count.get(status, 0):,} {status}" for status in STATUSES) + ".",
        _table(record["rows"]),
        _reductions(record.get("reductions", ())),
        _distinct(record["exact"]),
        _absent(record["absent"]),
    ]
    return "\n\n".join(line for line in lines if line)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each backend and mode of which something ran, a column for each grade."""
    grades = list(dict.fromkeys(row["grade"] for row in rows if row["grade"]))
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["backend"], row["mode"]), []).append(row)
    lines = [["backend", "device", "mode", *grades, "cells"], ["---"] * (len(grades) + 4)]
    for (backend, mode), of in groups.items():
        cells = sum(_ran(row) for row in of)
        if cells:
            worst = [_worst([row for row in of if row["grade"] == grade]) for grade in grades]
            lines.append([backend, _device(backend), mode, *worst, f"{cells:,}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _worst(rows: Sequence[Mapping[str, Any]]) -> str:
    if wrong := sum(row["cells"].get(status, 0) for row in rows for status in BAD):
        return f"**{wrong} wrong**"
    ratios = [float(row["worst"]) for row in rows if "worst" in row]
    known = sum(row["cells"].get("xfail", 0) for row in rows)
    return (f"{max(ratios):.2f}" if ratios else "-") + (f" ({known} xfail)" if known else "")


def _ran(row: Mapping[str, Any]) -> int:
    return sum(row["cells"].get(status, 0) for status in ("pass", "xfail", *BAD))


def _device(backend: str) -> str:
    return "gpu" if backend in GPU else "cpu"


def _reductions(rows: Sequence[Mapping[str, Any]]) -> str:
    """The largest K of each long case beside the one that is allowed."""
    if not rows:
        return ""
    head, *lines = table([Reduction(**row) for row in rows])
    text = "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
    return f"Long reductions, with the largest K that any backend came to where 8 is that of a short one:\n\n{text}"


def _distinct(exact: Mapping[str, int]) -> str:
    """How many cases of the exact grades there are, by the number of different results over backends and modes."""
    if not exact:
        return ""
    counts = ", ".join(f"{number} in {cases:,} cases" for number, cases in exact.items())
    return f"Distinct results of a case in an exact grade, bit for bit, over all backends and modes: {counts}."


def _absent(absent: Mapping[str, str]) -> str:
    names: dict[str, list[str]] = {}
    for name, reason in absent.items():
        names.setdefault(reason, []).append(name)
    lines = [f"- {', '.join(of)}: {reason}" for reason, of in names.items()]
    return "\n".join(["Not run at all:", "", *lines]) if lines else ""


def _gpus(records: Sequence[Mapping[str, Any]]) -> str:
    """The GPU backends that no record has, so that nobody takes silence for a result."""
    seen = {row["backend"] for record in records for row in record["rows"] if _ran(row)}
    lines = [f"| {name} | gpu | **not run** |" for name in GPU if name not in seen]
    head = ["## Without a recorded run", "", "| backend | device | |", "| --- | --- | --- |"]
    return "\n".join([*head, *lines]) if lines else ""


def read(path: Path) -> Any:
    """One record; raises ValueError for another format."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("format") != FORMAT:
        raise ValueError(f"{path.name} has format {record.get('format')}; expected {FORMAT}: record the run again")
    return record


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m regcore_conformance.tables", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what --json has written")
    paths = parser.parse_args().files
    print(markdown({path.stem: read(path) for path in paths}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
