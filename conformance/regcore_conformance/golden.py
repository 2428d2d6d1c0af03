"""`python -m regcore_conformance.golden`: makes the stored references again, or verifies them.

Each is computed twice: by the transcription in `formulas`, and by the code of the penalty. Both must agree.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import regcore
from regcore.config import own

from . import bound, edges, oracle, provenance, store
from .cases import UPSTREAM, Case, all_cases

HERE = Path(__file__).parent / store.FOLDER
COMMAND = "python -m regcore_conformance.golden"
AGREE = 2.0  # roundings of float64 between transcription and code, whose constants, as 1/n and pi e, are floats
SAME = 2.0**-60  # relative difference between two makings of one number
NOISE = 0.5  # and of one noise scale, should another NumPy draw other random numbers


def stored_cases(kinds: Iterable[type[regcore.Penalty]]) -> Iterator[Case]:
    kinds = list(kinds)
    return itertools.chain(all_cases(kinds), edges.referenced(kinds))


class Wrong(Exception):
    """A reference that cannot be trusted."""


class Made(NamedTuple):
    """A reference, where the entries of its gradients come from, and how far the penalty's own code is from it."""

    reference: bound.Reference
    origins: "collections.Counter[str]"
    roundings: float


def make(case: Case) -> Made:
    """The reference of a case by the transcription.

    Raises Wrong if the penalty's own code at 60 digits does not agree to `AGREE` roundings of float64, of the result or
    of the noise scale, or there is no transcription; NoSubgradient if the closed form is not between the slopes at a
    kink.
    """
    if edges.edge(case) in ("huge", "subnormal", "limit", "zeros"):
        closed = edges.closed_form(case)
        return Made(closed, collections.Counter({"closed form": sum(a.size for a in closed.results.values())}), 0.0)
    if not oracle.is_transcribed(case):
        raise Wrong(f"{case.id}: {case.spec} has no transcription: write one in the file of its family in formulas")
    closed = bound.reference(case.spec, case.x, case.params, mask=case.mask, upstream=UPSTREAM)
    origins: collections.Counter[str] = collections.Counter()
    ours = oracle.truth(case, oracle.transcribed, closed, origins)
    theirs = oracle.truth(case, oracle.shipped, closed)
    roundings = bound.K * dataclasses.replace(ours, exact=True).worst_ratio(theirs.results)
    if not roundings <= AGREE:
        raise Wrong(
            f"{case.id}: transcription and code differ by {roundings:.3g} roundings of float64; the values are "
            f"{ours.results['value']} and {theirs.results['value']}: compare both with the published formula"
        )
    return Made(ours, origins, roundings)


def write(kinds: Sequence[type[regcore.Penalty]]) -> None:
    """Make the references of these penalties, and the record of how they were made.

    Raises Wrong if those of the other penalties were made with other libraries.
    """
    path, described = HERE / "provenance.json", {}
    if len(kinds) < len(own()) and path.exists():
        before = json.loads(path.read_text())
        if before["made with"] != provenance.versions():
            raise Wrong(f"stored references were made with {before['made with']}; make all of them again: {COMMAND}")
        described = before["penalties"]
    HERE.mkdir(exist_ok=True)
    for kind in kinds:
        made = [(case, make(case)) for case in stored_cases([kind])]
        store.write(HERE / f"{kind.__name__}.npz", {case.id: store.pack(case, m.reference) for case, m in made})
        described[kind.__name__] = provenance.of_penalty(
            [m.origins for _, m in made], max(m.roundings for _, m in made)
        )
        print(f"{kind.__name__}: {described[kind.__name__]}", flush=True)
    path.write_text(json.dumps(provenance.of_all(described, COMMAND), indent=2) + "\n")


def verify(cases: Sequence[Case]) -> Iterator[str]:
    """What is wrong with the stored references of these cases, which are computed again."""
    for number, case in enumerate(cases, start=1):
        stored = store.find(case)
        if stored is None:
            yield f"{case.id}: {'stored for other fields or data' if store.is_stale(case) else 'not stored'}"
            continue
        try:
            again = make(case).reference
        except (Wrong, oracle.NoSubgradient) as wrong:
            yield str(wrong)
            continue
        yield from (f"{case.id}: {name} is not what is stored" for name in differing(stored, again))
        if number % 100 == 0:
            print(f"{number} of {len(cases)} computed again", flush=True)


def differing(stored: bound.Reference, again: bound.Reference) -> list[str]:
    """What of two references is not the same up to `SAME`, and `NOISE` for noise scales."""
    names = [] if stored.longest == again.longest else ["longest sum"]
    for name, scale in again.noise.items():
        floor = np.maximum(scale, 2.0**-20 * scale.max(initial=0.0))
        off = abs(stored.results[name] - again.results[name])
        if (off > SAME * (abs(again.results[name]) + floor) + np.finfo(np.float64).tiny).any():
            names.append(name)
        if (abs(stored.noise[name] - scale) > NOISE * floor + np.finfo(np.float64).tiny).any():
            names.append(f"noise of {name}")
    return names


def orphans() -> list[str]:
    """Stored references of cases that there are not."""
    known = {case.id for case in stored_cases(own().values())}
    stored = {case for path in sorted(HERE.glob("*.npz")) for case in store.read(path.stem)}
    return sorted(stored - known)


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--penalties", nargs="+", choices=own(), default=list(own()), metavar="NAME", help="these only")
    parser.add_argument("--verify", action="store_true", help="compute again and compare, and write nothing")
    parser.add_argument("--sample", type=int, metavar="N", help="verify N cases, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.sample is not None and not options.verify:
        parser.error("--sample is for --verify: references are made for all cases or for some penalties")

    kinds = [own()[name] for name in options.penalties]
    if not options.verify:
        try:
            write(kinds)
        except (Wrong, oracle.NoSubgradient) as wrong:
            print(f"stopped before anything of this penalty was stored: {wrong}")
            return 1
        return 0
    cases = list(stored_cases(kinds))
    if options.sample is not None:
        cases = random.Random(options.seed).sample(cases, min(options.sample, len(cases)))
    troubles = [*verify(cases), *(f"{case}: stored, and there is no such case" for case in orphans())]
    print("\n".join(troubles) or f"{len(cases)} references computed again; all are what is stored")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
