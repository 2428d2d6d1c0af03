"""The whole run: processes for the backends and the references, two at a time, and a verdict for each cell."""

import datetime
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from . import store
from .backends import KERAS
from .cases import PATTERNS, Case
from .collecting import Collected
from .processes import ORACLE, messages
from .progress import Progress
from .selection import Selection
from .verdicts import Verdict
from .verdicts import judge as judge
from .worker import ADAPTERS

PARTS = 4  # of the references that are computed
LONGEST = ["torch", "jax", "tensorflow", ORACLE, *ADAPTERS]  # first


class Sources(NamedTuple):
    """Where the references of a run come from, by the names of their cases."""

    stored: Sequence[str]
    computed: Sequence[str]
    stale: Sequence[str]  # of those that were computed, what is stored under their names is of something else


class Run(NamedTuple):
    """What a run was of, when, and what came of it."""

    selection: Selection
    verdicts: list[Verdict]
    descriptions: dict[str, str]  # of the backends, by themselves
    sources: Sources
    seconds: dict[str, float]  # that each backend took, with its imports
    date: str  # of its start, in UTC
    took: float  # seconds of the whole run


def run(names: Iterable[str], selection: Selection, *, watch: Callable[[Progress, str], None]) -> Run:
    """Everything that the named workers come to; `watch` is called as it comes, with a line where a process has ended.

    What needs a reference that is computed in this run is judged last.
    """
    start, date = time.monotonic(), datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    cases = selection.cases()
    sources = _sources([case for case in cases if case.id.rpartition("/")[2] in PATTERNS], selection.seed)
    parts = min(PARTS, len(sources.computed))
    oracle = [f"{ORACLE} {i} {parts}" for i in range(parts)]
    jobs = _jobs(names := list(names), oracle, selection.depth)
    progress = Progress(names, jobs=len(jobs))
    collected = Collected(cases, sources.computed, progress)
    for message in messages(jobs, selection):
        watch(progress, collected.take(message))
    collected.judge_what_waits()
    watch(progress, "")
    order = sorted(collected.verdicts, key=lambda v: names.index(v.backend))
    took = time.monotonic() - start
    return Run(selection, order, collected.descriptions, sources, collected.seconds, date, took)


def _sources(cases: Sequence[Case], seed: int) -> Sources:
    """Of cases with a pattern: what is true of others, such as edges, follows from them."""
    here = {case.id: store.find(case) is not None for case in cases}
    computed = [case for case in cases if not here[case.id]]
    stale = [] if seed else [case.id for case in computed if store.is_stale(case)]  # references are stored for seed 0
    return Sources([name for name in here if here[name]], [case.id for case in computed], stale)


def _jobs(names: list[str], oracle: list[str], depth: str) -> list[list[str]]:
    """What each process does, longest first: all that is about one library, or a part of the references."""
    jobs: dict[str, list[str]] = {part: [part] for part in oracle}
    for name in names:
        idle = depth == "quick" and name in (*KERAS, *ADAPTERS)  # these have nothing to do: one process says so
        jobs.setdefault("idle" if idle else _process(name), []).append(name)
    return [jobs[key] for key in sorted(jobs, key=_place)]


def _place(job: str) -> int:
    name = ORACLE if job.startswith(ORACLE) else job
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def _process(name: str) -> str:
    """Keras has one backend in a process, and its adapter is run there too."""
    if name in KERAS:
        return f"regcore_{name}"
    return name if name in ADAPTERS else name.split(":")[0]
