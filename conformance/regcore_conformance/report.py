"""What ran, how close to the bound, in how many distinct results; and, as loudly, what did not run."""

import collections
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import reductions
from .described import at_an_edge
from .grades import is_exact
from .suite import Sources
from .verdicts import BAD, Verdict

Table = list[list[str]]

WITHOUT_RESULT = ("not run", "unsupported", "xfail")  # which have a reason instead of an error over the bound


def text(
    verdicts: Sequence[Verdict], descriptions: dict[str, str], sources: Sources | None = None, seed: int = 0
) -> str:
    """The whole report; `sources` says where the references come from."""
    sections = [
        _environment(descriptions),
        "Worst error in units of the bound of docs/numerics.md; at most 1 passes\n" + _aligned(_modes(verdicts)),
        "The same for each penalty, over modes, grades, examples and data\n" + _aligned(_penalties(verdicts)),
        _reductions(verdicts, seed),
        _distinct(verdicts),
        "One SGD step through each adapter, worst error in units of the bound\n" + _aligned(_steps(verdicts)),
        _troubles(verdicts),
        _absent(verdicts),
        references(sources) if sources else "",
        summary(verdicts),
    ]
    return "\n\n".join(section for section in sections if section)


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line: how many cells passed, failed and did not run, and which backends are missing altogether."""
    missing = [v.backend for v in verdicts if v.status == "not run" and not v.case]
    return counted(verdicts) + (f" (no cell of {', '.join(missing)})" if missing else "")


def counted(verdicts: Iterable[Verdict]) -> str:
    """The cells by status, in words."""
    count = collections.Counter("failed" if v.status in BAD else v.status for v in verdicts)
    known = f", {count['xfail']:,} are known to fail" if count["xfail"] else ""
    return (
        f"{count['pass']:,} cells passed, {count['failed']:,} failed{known}, {count['unsupported']:,} unsupported, "
        f"{count['not run']:,} not run"
    )


def references(sources: Sources) -> str:
    """One line: how many references were stored and how many had to be computed; and, as loudly, what is stale."""
    line = f"{len(sources.stored)} references were stored, {len(sources.computed)} computed in this run"
    if not sources.stale:
        return line
    return (
        f"{line}\nSTALE  {len(sources.stale)} stored references are of other fields or data than their cases, such as "
        f"{sources.stale[0]}: python -m regcore_conformance.golden makes them again"
    )


def distinct(verdicts: Iterable[Verdict]) -> dict[str, dict[str, list[str]]]:
    """For each case of an exact grade its distinct results, as hashes of bits (zeros of both signs are one).

    A case in float16 or bfloat16 is named with its grade, as "L2/0/dense (exact float16)". What may overflow or be
    refused has no one result, so that edges of the domain are not among them.
    """
    cases: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for v in verdicts:
        if v.results is not None and v.case != "step" and is_exact(v.grade) and not at_an_edge(v.case):
            bits = b"".join(name.encode() + (array + 0.0).tobytes() for name, array in sorted(v.results.items()))
            name = v.case if v.grade == "exact" else f"{v.case} ({v.grade})"
            cases[name][hashlib.sha256(bits).hexdigest()[:8]].append(f"{v.backend} {v.mode}")
    return cases


def _environment(descriptions: dict[str, str]) -> str:
    return "\n".join(f"{name}: {description}" for name, description in descriptions.items() if description)


def _modes(verdicts: Sequence[Verdict]) -> Table:
    """A row for each way of evaluating: its cells by status, and the largest error of all."""
    rows = [["backend", "mode", "grade", "passed", "failed", "not run", "worst", "in case"]]
    for key, row in _grouped(verdicts, lambda v: (v.backend, v.mode, v.grade)).items():
        count = collections.Counter("failed" if v.status in BAD else v.status for v in row)
        if count["unsupported"] < len(row):
            worst = max((v for v in row if v.ratio is not None), key=lambda v: v.ratio, default=None)
            shown = [f"{worst.ratio:.2f}", worst.case] if worst else ["", ""]
            rows.append([*key, *(str(count[status]) for status in ("pass", "failed", "not run")), *shown])
    return rows


def _penalties(verdicts: Sequence[Verdict]) -> Table:
    """A row for each penalty: its largest error in each backend, over all modes and grades that ran."""
    cells = _grouped(verdicts, lambda v: (v.case.split("/")[0], v.backend))
    backends = list(dict.fromkeys(backend for _, backend in cells))
    penalties = sorted({penalty for penalty, _ in cells})
    rows = [[penalty, *(_worst_of(cells.get((penalty, name), ())) for name in backends)] for penalty in penalties]
    return [["penalty", *backends], *rows]


def _grouped(verdicts: Sequence[Verdict], key: Callable[[Verdict], Any]) -> dict[Any, list[Verdict]]:
    groups: dict[Any, list[Verdict]] = {}
    for v in verdicts:
        if v.case and v.case != "step":
            groups.setdefault(key(v), []).append(v)
    return groups


def _worst_of(verdicts: Iterable[Verdict]) -> str:
    verdicts = [v for v in verdicts if v.status not in WITHOUT_RESULT]
    if any(v.ratio is None for v in verdicts):
        return "error"
    return f"{max(v.ratio for v in verdicts):.2f}" if verdicts else "not run"


def _reductions(verdicts: Sequence[Verdict], seed: int) -> str:
    rows = reductions.table(reductions.reductions(verdicts, seed))
    return "Long reductions, the largest K of the bound that any came to\n" + _aligned(rows) if rows else ""


def _distinct(verdicts: Sequence[Verdict]) -> str:
    cases = distinct(verdicts)
    counts = collections.Counter(len(results) for results in cases.values())
    sources = max((sum(map(len, results.values())) for results in cases.values()), default=0)
    lines = [f"Exact grade: {len(cases)} cases, each evaluated in up to {sources} ways; distinct results, bit for bit"]
    lines += [f"  {number} in {counts[number]} cases" for number in sorted(counts)]
    for case, results in cases.items():
        if len(results) > 1:
            lines.append(f"  {case}: " + "; ".join(f"{bits} {', '.join(where)}" for bits, where in results.items()))
    return "\n".join(lines)


def _steps(verdicts: Sequence[Verdict]) -> Table:
    return [
        [v.backend, "error" if v.ratio is None else f"{v.ratio:.2f}", v.detail] for v in verdicts if v.case == "step"
    ]


def _troubles(verdicts: Sequence[Verdict]) -> str:
    lines = [
        f"{v.status.upper()}  {v.backend} {v.mode} {v.grade} {v.case}: {v.detail}" for v in verdicts if v.status in BAD
    ]
    return "\n".join([*lines[:40], *([f"... and {len(lines) - 40} more"] if len(lines) > 40 else [])])


def _absent(verdicts: Sequence[Verdict]) -> str:
    """A line for each reason of each backend, with its modes; with grades, where it is some of them."""
    ways: dict[str, set[str]] = collections.defaultdict(set)
    reasons: dict[tuple[str, str, str], dict[str, set[str]]] = {}
    count: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for v in verdicts:
        ways[v.mode].add(v.grade)
        if v.status in WITHOUT_RESULT:
            key = (v.status, v.backend, v.detail)
            reasons.setdefault(key, {}).setdefault(v.mode, set()).add(v.grade)
            count[key] += 1
    lines = []
    for (status, backend, reason), modes in reasons.items():
        parts = (
            (mode, "" if grades == ways[mode] else f" {'/'.join(sorted(grades))}") for mode, grades in modes.items()
        )
        where = ", ".join(mode + some for mode, some in parts)
        cells = f" ({where}), {count[status, backend, reason]} cells" if where.strip() else ""
        lines.append(f"{status.upper()}  {backend}{cells}: {reason}")
    return "\n".join(lines)


def _aligned(rows: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
