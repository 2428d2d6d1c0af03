"""The whole run: a process for each backend, two at a time, and a verdict for each cell."""

import concurrent.futures
import dataclasses
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from . import steps
from .bound import Reference
from .worker import ADAPTERS, BACKENDS, Cell, Outcome

AT_ONCE = 2
START = "from regcore_conformance.worker import main; main()"  # not -m, which would make its classes those of __main__


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
    names: Iterable[str], *, penalties: Iterable[str], full: bool, progress: Callable[[str], None]
) -> tuple[list[Outcome], dict[str, Reference]]:
    """Outcomes of the named workers, and the true results of all cases."""
    names = [*names, "oracle"]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {
            pool.submit(_work, name, Path(folder), ["full" if full else "default", *penalties]): name
            for name in sorted(names, key=_longest_first)
        }
        outcomes: dict[str, Any] = {}
        for done in concurrent.futures.as_completed(waiting):
            outcomes[waiting[done]], seconds = done.result()
            progress(f"{len(outcomes)}/{len(names)}  {waiting[done]}  {seconds:.0f} s")
    truths = outcomes.pop("oracle")
    return [outcomes[name] for name in names[:-1]], truths


def judge(outcomes: Iterable[Outcome], truths: dict[str, Reference]) -> list[Verdict]:
    """Each cell against the truth, in units of the bound."""
    truths = {**truths, "step": steps.truth()}
    verdicts = []
    for outcome in outcomes:
        if outcome.not_run:
            verdicts.append(Verdict(outcome.name, "", "", "", "not run", outcome.not_run))
        verdicts += [_verdict(outcome.name, cell, truths[cell.case]) for cell in outcome.cells]
    return verdicts


def _verdict(backend: str, cell: Cell, truth: Reference) -> Verdict:
    if cell.status != "ran":
        return Verdict(backend, *cell[:5])
    if cell.results.keys() != truth.results.keys():
        detail = f"results are {sorted(cell.results)}; expected {sorted(truth.results)}"
        return Verdict(backend, *cell[:3], "fail", detail, float("inf"), cell.results)
    ratio = dataclasses.replace(truth, exact=cell.grade == "exact").worst_ratio(cell.results)
    status, detail = ("pass", "") if ratio <= 1 else ("fail", f"error is {ratio:.3g} times the bound")
    return Verdict(backend, cell.mode, cell.grade, cell.case, status, detail, ratio, cell.results)


def _longest_first(name: str) -> int:
    order = ["jax:cpu:x64", "oracle", "jax:cpu", "torch:cpu", "tensorflow:cpu", *ADAPTERS, *BACKENDS]
    return order.index(name)


def _work(name: str, folder: Path, options: list[str]) -> tuple[Any, float]:
    start, path = time.monotonic(), folder / name.replace(":", "_")
    command = [sys.executable, "-c", START, name, str(path), *options]
    environment = dict(os.environ)
    if name in ADAPTERS and ":" in name:
        environment["KERAS_BACKEND"] = name.split(":")[1]  # Keras reads it once, when it is imported
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode or not path.exists():
        if name == "oracle":
            raise RuntimeError(f"the oracle failed:\n{process.stderr}")
        crash = f"the worker ended with {process.returncode}: {process.stderr[-2000:]}"
        return Outcome(name, "", (Cell("start", "", "step", "error", crash),)), time.monotonic() - start
    return pickle.loads(path.read_bytes()), time.monotonic() - start
