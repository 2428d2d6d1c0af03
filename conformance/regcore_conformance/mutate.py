"""`python -m regcore_conformance.mutate`: does the suite find every mistake that can be planted in a penalty?"""

import argparse
import collections
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from regcore.config import own

from .mutants import code, equivalent, field, formula, gradient
from .mutants.trial import GRADES, NUMPY, Mutant, cases_of, tried, truth, wrong_with

KINDS: dict[str, Callable[[Iterable[str]], Iterator[Mutant]]] = {
    "formula": formula.mutants,
    "field": field.mutants,
    "code": code.mutants,
    "gradient": gradient.mutants,
}
FOUND = ("value", "gradient", "both", "error")


class Fate(NamedTuple):
    """What became of a mutant in each of its grades: how it was found, "equivalent" or "survived"; and why or where."""

    mutant: Mutant
    by: dict[str, str]
    where: dict[str, str]


def fates(penalties: Iterable[str], kinds: Iterable[str] = KINDS) -> Iterator[Fate]:
    """The trial of every mutant of these penalties."""
    penalties = list(penalties)
    for kind in kinds:
        yield from map(fate, KINDS[kind](penalties))


def fate(mutant: Mutant) -> Fate:
    """Its trial in each grade, until one finds nothing because there is nothing to find."""
    by: dict[str, str] = {}
    where: dict[str, str] = {}
    for grade in mutant.grades:
        if "equivalent" in by.values():
            by[grade], where[grade] = "equivalent", next(reversed(where.values()))
            continue
        known = mutant.kind == "formula" and equivalent.claimed(mutant) and equivalent.shown(mutant)  # which is faster
        by[grade], where[grade] = ("", "") if known else tried(mutant, grade)
        if not by[grade]:
            by[grade], where[grade] = _unfound(mutant, grade)
    return Fate(mutant, by, where)


def _unfound(mutant: Mutant, grade: str) -> tuple[str, str]:
    """What that makes of it, and why."""
    claim = equivalent.claimed(mutant)
    if mutant.kind in ("field", "gradient"):
        return ("equivalent", "it changes nothing") if equivalent.is_idle(mutant) else ("survived", "")
    if equivalent.is_wide(mutant, grade):
        return "too wide", "the bound is wide there, and other grades find it"
    if claim is None or not equivalent.shown(mutant):
        return "survived", "" if claim is None else f"and is not what is claimed: {claim.because}"
    return "equivalent", claim.because


def rejected(penalties: Iterable[str]) -> list[str]:
    """Correct penalties that are rejected, by the path that mutants take; and transcriptions, on dense data."""
    found = []
    for name in penalties:
        right = Mutant(name, "code", "as it is", (name,), lambda case: (case, NUMPY))
        dense = [case for case in cases_of(name) if case.id.endswith("/dense")]
        for grade in right.grades:
            found += [f"{name} {grade}: {how} in {case}" for how, case in [tried(right, grade)] if how]
            how = [wrong_with(formula.unedited(name), grade, case, truth(name, case.id)) for case in dense]
            found += [f"the transcription of {name} {grade}: {each}" for each in how if each]
    return found


def _by(column: str, every: Iterable[Fate]) -> dict[str, list[Fate]]:
    rows: dict[str, list[Fate]] = {}
    for fate in every:
        rows.setdefault(getattr(fate.mutant, column), []).append(fate)
    return rows


def line(row: str, of: list[Fate]) -> str:
    """How many mutants there are of a row, and in each grade how they were found."""
    counts = {grade: collections.Counter(fate.by.get(grade) for fate in of) for grade in GRADES}
    columns = [*FOUND, "equivalent", "too wide", "survived"]
    return f"{row:26}{len(of):5}" + "".join(
        "  |" + "".join(f"{counts[grade][how]:5}" for how in columns) for grade in GRADES
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m regcore_conformance.mutate", description=__doc__)
    parser.add_argument("--penalties", nargs="+", choices=own(), default=list(own()), metavar="NAME")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=f"of {[*KINDS]}")
    parser.add_argument("--verbose", action="store_true", help="a line for each mutant that was not found, and why")
    options = parser.parse_args()
    start = time.monotonic()
    every = list(fates(options.penalties, options.kinds))
    print(f"{'':26}{'all':>5}" + "".join(f"  |{each:>35}" for each in GRADES))
    print(f"{'':31}" + len(GRADES) * "  |value grad both  err same wide left")
    for column in ("row", "kind"):
        rows = _by(column, every)
        print("\n".join(line(row, of) for row, of in rows.items()), end="\n\n")
    for fate in every:
        for grade, how in fate.by.items():
            if how == "survived" or (options.verbose and how == "equivalent"):
                print(
                    f"{how} in {grade}: {fate.mutant.row}, {fate.mutant.kind}: {fate.mutant.text}: {fate.where[grade]}"
                )
    wrong = rejected(options.penalties)
    survived = sum("survived" in fate.by.values() for fate in every)
    print(line("all", every))
    print(f"{len(every)} mutants, {survived} survived; {len(wrong)} correct ones rejected {wrong or ''}")
    print(f"{time.monotonic() - start:.0f} seconds")
    return 1 if survived or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
