"""A process of its own for a backend: evaluates every cell and hands over what came out, block by block."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import backends, steps, streaming
from .cases import PATTERNS, Case
from .evaluating import Cell, cells, cells_of
from .selection import Selection
from .truths import known


class Outcome(NamedTuple):
    """What came of one worker; `not_run` says why, if it could not start."""

    name: str
    description: str = ""
    cells: tuple[Cell, ...] = ()
    not_run: str = ""


ADAPTERS = {
    "regcore_torch": "torch",
    "regcore_flax": "flax",
    "regcore_keras:tensorflow": "keras",
    "regcore_keras:jax": "keras",
    "regcore_keras:torch": "keras",
}


def names() -> list[str]:
    """The backends and adapters that there are to run, those of installed packages too."""
    libraries = dict.fromkeys([*backends.chosen(), *backends.chosen(device="gpu"), "tensorflow:gpu"])
    return [*libraries, *backends.KERAS, *ADAPTERS]


def evaluate(name: str, cases: list[Case], *, depth: str) -> Iterator[streaming.Plan | Outcome]:
    """Every case in every mode and grade of one backend, in blocks, or the reason why there is none."""
    if depth == "quick" and name in backends.KERAS:  # which would take seconds to start
        yield Outcome(name, not_run="left out by --quick")
        return
    try:
        with backends.entered(name) as (description, evaluators):
            yield streaming.Plan(name, description, cells_of(evaluators, cases))
            for block in streaming.blocks(cells(name, evaluators, cases, depth)):
                yield Outcome(name, description, block)
    except (ImportError, backends.NotHere) as reason:
        yield Outcome(name, not_run=str(reason))


def adapt(name: str, *, depth: str) -> Outcome:
    """The step of one adapter."""
    if depth == "quick":
        return Outcome(name, not_run="left out by --quick")
    try:
        step = importlib.import_module(f"{steps.__name__}.{ADAPTERS[name]}").step
    except ImportError as reason:
        return Outcome(name, not_run=str(reason))
    try:
        return Outcome(name, "one SGD step", (Cell("step", "float32", "step", "ran", results=step(steps.PROBLEM)),))
    except Exception as error:  # as above
        return Outcome(
            name, "one SGD step", (Cell("step", "float32", "step", "error", f"{type(error).__name__}: {error}"),)
        )


def truths(part: str, cases: list[Case]) -> dict[str, Any]:
    """The references that are not stored, of every n-th case, or what is wrong with a formula that has none.

    `part` is "oracle i n".
    """
    from . import oracle

    first, step = map(int, part.split()[1:])
    found: dict[str, Any] = {}
    for case in [case for case in cases if case.id.rpartition("/")[2] in PATTERNS and known(case) is None][first::step]:
        try:
            found[case.id] = oracle.independent(case)
        except Exception as error:  # as above
            found[case.id] = f"no reference: {type(error).__name__}: {error}"
    return found


def main() -> None:
    """The arguments are names, separated by commas, and a selection as JSON; what comes of them goes into a pipe."""
    pipe = streaming.own_pipe()
    names, selection = sys.argv[1:]
    chosen = Selection(**json.loads(selection))
    cases = chosen.cases()
    for name in names.split(","):
        start = time.monotonic()
        for message in _messages(name, cases, chosen.depth):
            streaming.send(message, pipe)
        streaming.send(streaming.Ended(name, time.monotonic() - start), pipe)


def _messages(name: str, cases: list[Case], depth: str) -> Iterator[Any]:
    """What there is to hand over of one name, as soon as it is there."""
    if name.startswith("oracle"):
        yield streaming.References(name, truths(name, cases))
    elif name in ADAPTERS:
        yield adapt(name, depth=depth)
    else:
        yield from evaluate(name, cases, depth=depth)
