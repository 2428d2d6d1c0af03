"""The whole run: processes for the backends and the references, two at a time, and a verdict for each cell."""

import concurrent.futures
import dataclasses
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from regcore.config import catalogue

from . import steps, store
from .bound import Reference
from .cases import Case, all_cases
from .worker import ADAPTERS, Cell, Outcome

Truths = Mapping[str, Reference | str]  # by case; a text says why there is none

AT_ONCE = 2
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
DEFAULTS = {**dict.fromkeys(THREADS, "2"), "TF_CPP_MIN_LOG_LEVEL": "3"}  # of the environment of each process
ORACLE = [f"oracle {i} 4" for i in range(4)]
LONGEST = ["torch", "jax", "tensorflow", *ORACLE, *ADAPTERS]  # first
START = "from regcore_conformance.worker import main; main()"  # not -m, which would make its classes those of __main__


class Sources(NamedTuple):
    """Where the references of a run come from, by the names of their cases."""

    stored: Sequence[str]
    computed: Sequence[str]
    stale: Sequence[str]  # of those that were computed, what is stored under their names is of something else


class Verdict(NamedTuple):
    """The status of a cell, "pass", "fail", "error", "unsupported" or "not run", and its error over the bound."""

    backend: str
    mode: str
    grade: str
    case: str
    status: str
    detail: str
    ratio: float | None = None
    results: Any = None


def run(
    names: Iterable[str], *, penalties: Iterable[str], depth: str, progress: Callable[[str], None]
) -> tuple[list[Outcome], Truths, Sources]:
    """Outcomes of the named workers, the true results of all cases, and where these come from."""
    cases = list(all_cases(catalogue()[penalty] for penalty in penalties))
    truths: dict[str, Reference | str] = {case.id: truth for case in cases if (truth := store.find(case))}
    sources = _sources(cases, truths)
    jobs = _jobs(names := list(names), ORACLE if sources.computed else [])
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {
            pool.submit(_work, job, Path(folder) / str(number), [depth, *penalties]): job
            for number, job in enumerate(jobs)
        }
        outcomes: dict[str, Any] = {}
        for number, done in enumerate(concurrent.futures.as_completed(waiting), start=1):
            found, seconds = done.result()
            outcomes |= found
            progress(f"{number}/{len(jobs)}  {' and '.join(waiting[done])}  {seconds:.0f} s")
    for part in ORACLE:
        truths |= outcomes.pop(part, {})
    return [outcomes[name] for name in names], truths, sources


def _sources(cases: Iterable[Case], stored: Truths) -> Sources:
    computed = [case for case in cases if case.id not in stored]
    return Sources(list(stored), [case.id for case in computed], [case.id for case in computed if store.is_stale(case)])


def _jobs(names: list[str], oracle: list[str]) -> list[list[str]]:
    """What each process does, longest first: all that is about one library, or a part of the references."""
    jobs: dict[str, list[str]] = {part: [part] for part in oracle}
    for name in names:
        jobs.setdefault(name if name in ADAPTERS else name.split(":")[0], []).append(name)
    return [jobs[key] for key in sorted(jobs, key=lambda key: LONGEST.index(key) if key in LONGEST else len(LONGEST))]


def judge(outcomes: Iterable[Outcome], truths: Truths) -> list[Verdict]:
    """Each cell against the truth, in units of the bound."""
    truths = {**truths, "step": steps.truth()}
    verdicts = []
    for outcome in outcomes:
        if outcome.not_run:
            verdicts.append(Verdict(outcome.name, "", "", "", "not run", outcome.not_run))
        verdicts += [_verdict(outcome.name, cell, truths[cell.case]) for cell in outcome.cells]
    return verdicts


def _verdict(backend: str, cell: Cell, truth: Reference | str) -> Verdict:
    if cell.status != "ran":
        return Verdict(backend, *cell[:5])
    if isinstance(truth, str):
        return Verdict(backend, *cell[:3], "error", truth, results=cell.results)
    if cell.results.keys() != truth.results.keys():
        detail = f"results are {sorted(cell.results)}; expected {sorted(truth.results)}"
        return Verdict(backend, *cell[:3], "fail", detail, float("inf"), cell.results)
    ratio = dataclasses.replace(truth, exact=cell.grade == "exact").worst_ratio(cell.results)
    status, detail = ("pass", "") if ratio <= 1 else ("fail", f"error is {ratio:.3g} times the bound")
    return Verdict(backend, cell.mode, cell.grade, cell.case, status, detail, ratio, cell.results)


def _work(job: list[str], path: Path, options: list[str]) -> tuple[dict[str, Any], float]:
    start = time.monotonic()
    command = [sys.executable, "-c", START, ",".join(job), str(path), *options]
    environment = {**DEFAULTS, **os.environ}
    if job[0] in ADAPTERS and ":" in job[0]:
        environment["KERAS_BACKEND"] = job[0].split(":")[1]  # Keras reads it once, when it is imported
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if process.returncode == 0 and path.exists():
        return pickle.loads(path.read_bytes()), seconds
    if job[0] in ORACLE:
        raise RuntimeError(f"the oracle failed:\n{process.stderr}")
    crash = f"the worker ended with {process.returncode}: {process.stderr[-2000:]}"
    return {name: Outcome(name, "", (Cell("start", "", "step", "error", crash),)) for name in job}, seconds
