"""The verdicts for other programs: as JSON, and as the XML of JUnit that build servers show."""

import collections
import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from . import report
from .commands import again
from .environment import environment
from .reductions import reductions
from .suite import Run
from .verdicts import BAD, Verdict

FORMAT = 2  # grows where a key changes its meaning


def as_json(run: Run, command: str) -> str:
    """What `docs/conformance.md` describes: counts and worst errors in rows, and each cell that is not right."""
    sources, verdicts = run.sources, run.verdicts
    return _text(
        {
            "format": FORMAT,
            "date": run.date,
            "command": command,
            "seconds": round(run.took, 1),
            "selection": run.selection._asdict(),
            "environment": environment(),
            "backends": {name: description for name, description in run.descriptions.items() if description},
            "times": {name: round(seconds, 1) for name, seconds in run.seconds.items() if run.descriptions.get(name)},
            "summary": dict(collections.Counter(v.status for v in verdicts)),
            "references": {
                "stored": len(sources.stored),
                "computed": len(sources.computed),
                "stale": len(sources.stale),
            },
            "absent": {v.backend: v.detail for v in verdicts if v.status == "not run" and not v.case},
            "wrong": [_cell(run, v) for v in verdicts if v.status in BAD],
            "known": [_cell(run, v) for v in verdicts if v.status == "xfail"],
            "reductions": [one._asdict() for one in reductions(verdicts, run.selection.seed)],
            **_bits(verdicts),
            "rows": [_row(key, group) for key, group in groups(verdicts).items()],
        }
    )


def as_junit(run: Run) -> str:
    """A test suite for each backend, and a test for each mode, grade and penalty; what is absent is skipped."""
    root = ElementTree.Element("testsuites", name="regcore_conformance")
    suites: dict[str, ElementTree.Element] = {}
    for (backend, mode, grade, penalty), group in groups(run.verdicts).items():
        if backend not in suites:
            suites[backend] = ElementTree.SubElement(root, "testsuite", name=backend)
        name = f"{backend}.{mode}.{grade}"
        test = ElementTree.SubElement(suites[backend], "testcase", classname=name, name=penalty)
        if wrong := [v for v in group if v.status in BAD]:
            failure = ElementTree.SubElement(test, "failure", message=f"{len(wrong)} of {len(group)} cells are wrong")
            failure.text = "\n".join(f"{v.case}: {v.detail}; {again(v, run.selection)}" for v in wrong)
        elif all(v.status in report.WITHOUT_RESULT for v in group):
            ElementTree.SubElement(test, "skipped", message=group[0].detail)
    for v in run.verdicts:
        if v.status == "not run" and not v.case:
            parent = ElementTree.SubElement(root, "testsuite", name=v.backend)
            test = ElementTree.SubElement(parent, "testcase", classname=v.backend, name="start")
            ElementTree.SubElement(test, "skipped", message=v.detail)
    for parent in root:
        counts = {"tests": parent, "failures": parent.findall("*/failure"), "skipped": parent.findall("*/skipped")}
        parent.attrib.update({name: str(len(found)) for name, found in counts.items()})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def groups(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str, str], list[Verdict]]:
    """Cells by backend, mode, grade and penalty; the step of an adapter is a group as well."""
    groups: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for v in verdicts:
        if v.case:
            groups.setdefault((v.backend, v.mode, v.grade, v.case.split("/")[0]), []).append(v)
    return groups


def _bits(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """In how many distinct results the cases of the exact grades came out, and those of which there are several."""
    cases = report.distinct(verdicts)
    counts = collections.Counter(len(bits) for bits in cases.values())
    return {
        "exact": {str(number): counts[number] for number in sorted(counts)},
        "distinct": {case: bits for case, bits in cases.items() if len(bits) > 1},
    }


def _row(key: tuple[str, str, str, str], group: Sequence[Verdict]) -> dict[str, Any]:
    row = {
        **dict(zip(("backend", "mode", "grade", "penalty"), key, strict=True)),
        "cells": dict(collections.Counter(v.status for v in group)),
    }
    worst = max((v for v in group if v.ratio is not None), key=lambda v: v.ratio or 0.0, default=None)
    if worst is None:
        return row
    return {**row, "worst": _finite(worst.ratio), "worst_case": worst.case, "worst_result": worst.result}


def _cell(run: Run, v: Verdict) -> dict[str, Any]:
    cell = {name: getattr(v, name) for name in ("backend", "mode", "grade", "case", "status", "detail", "result")}
    return {**cell, "ratio": _finite(v.ratio), "again": again(v, run.selection)}


def _finite(ratio: float | None) -> float | str | None:
    """Four digits. JSON has no infinity and no NaN; a result that is either is no less wrong for that."""
    return ratio if ratio is None else float(f"{ratio:.4g}") if abs(ratio) < float("inf") else str(ratio)


def _text(content: dict[str, Any]) -> str:
    """A line for each entry of a list, so that files are short and differences readable."""
    parts = []
    for key, value in content.items():
        lines = [json.dumps(each, allow_nan=False) for each in value] if isinstance(value, list) else []
        text = "[\n  " + ",\n  ".join(lines) + "\n ]" if lines else json.dumps(value, indent=2, allow_nan=False)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
