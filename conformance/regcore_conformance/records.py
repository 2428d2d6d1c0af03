"""The verdicts for other programs: as JSON, and as the XML of JUnit that build servers show."""

import collections
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import regcore

from . import report
from .suite import Sources, Verdict

FORMAT = 1  # grows where a key changes its meaning
BAD = ("fail", "error")


def as_json(verdicts: Sequence[Verdict], descriptions: Mapping[str, str], sources: Sources) -> str:
    """What `docs/conformance.md` describes: counts and worst errors in rows, and each cell that is not right."""
    content = {
        "format": FORMAT,
        "versions": {"regcore": regcore.__version__, "python": platform.python_version()},
        "backends": {name: description for name, description in descriptions.items() if description},
        "summary": dict(collections.Counter(v.status for v in verdicts)),
        "references": {"stored": len(sources.stored), "computed": len(sources.computed), "stale": len(sources.stale)},
        "rows": [_row(key, group) for key, group in _groups(verdicts).items()],
        "wrong": [_cell(v) for v in verdicts if v.status in BAD],
        "absent": {v.backend: v.detail for v in verdicts if v.status == "not run" and not v.case},
        "distinct": {case: bits for case, bits in report.distinct(verdicts).items() if len(bits) > 1},
    }
    return json.dumps(content, indent=1, allow_nan=False)


def as_junit(verdicts: Sequence[Verdict]) -> str:
    """A test suite for each backend, and a test for each mode, grade and penalty; what is absent is skipped."""
    root = ElementTree.Element("testsuites", name="regcore_conformance")
    suites: dict[str, ElementTree.Element] = {}
    for (backend, mode, grade, penalty), group in _groups(verdicts).items():
        if backend not in suites:
            suites[backend] = ElementTree.SubElement(root, "testsuite", name=backend)
        name = f"{backend}.{mode}.{grade}"
        test = ElementTree.SubElement(suites[backend], "testcase", classname=name, name=penalty)
        if wrong := [v for v in group if v.status in BAD]:
            failure = ElementTree.SubElement(test, "failure", message=f"{len(wrong)} of {len(group)} cells are wrong")
            failure.text = "\n".join(f"{v.case}: {v.detail}; {_again(v)}" for v in wrong)
        elif all(v.status in ("not run", "unsupported") for v in group):
            ElementTree.SubElement(test, "skipped", message=group[0].detail)
    for v in verdicts:
        if v.status == "not run" and not v.case:
            parent = ElementTree.SubElement(root, "testsuite", name=v.backend)
            test = ElementTree.SubElement(parent, "testcase", classname=v.backend, name="start")
            ElementTree.SubElement(test, "skipped", message=v.detail)
    for parent in root:
        counts = {"tests": parent, "failures": parent.findall("*/failure"), "skipped": parent.findall("*/skipped")}
        parent.attrib.update({name: str(len(found)) for name, found in counts.items()})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _groups(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str, str], list[Verdict]]:
    """Cells by backend, mode, grade and penalty; the step of an adapter is a group as well."""
    groups: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for v in verdicts:
        if v.case:
            groups.setdefault((v.backend, v.mode, v.grade, v.case.split("/")[0]), []).append(v)
    return groups


def _row(key: tuple[str, str, str, str], group: Sequence[Verdict]) -> dict[str, Any]:
    worst = max((v for v in group if v.ratio is not None), key=lambda v: v.ratio or 0.0, default=None)
    return {
        **dict(zip(("backend", "mode", "grade", "penalty"), key, strict=True)),
        "cells": dict(collections.Counter(v.status for v in group)),
        "worst": _finite(worst.ratio) if worst else None,
        "worst_case": worst.case if worst else None,
    }


def _cell(v: Verdict) -> dict[str, Any]:
    cell = {name: getattr(v, name) for name in ("backend", "mode", "grade", "case", "status", "detail")}
    return {**cell, "ratio": _finite(v.ratio), "again": _again(v)}


def _again(v: Verdict) -> str:
    """The command that runs it again."""
    penalty = v.case.split("/")[0]
    chosen = "" if penalty in ("step", "start", "") else f" --penalties {penalty}"
    return f"python -m regcore_conformance --only {v.backend}{chosen}"


def _finite(ratio: float | None) -> float | str | None:
    """JSON has no infinity and no NaN; a result that is either is no less wrong for that."""
    return ratio if ratio is None or abs(ratio) < float("inf") else str(ratio)
