"""A batch in two uneven shards, whose statistics are shared: two threads that wait for each other, as replicas do."""

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from . import Evaluate, Unsupported
from .bundle import Problem, Results

SIZE = 2
PATIENCE = 60.0  # seconds


class Exchange:
    """What one replica passes as `across`: sums and maxima over all of them."""

    size = SIZE

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.slots, self.barrier = rank, slots, barrier

    def sum(self, array: Any) -> Any:
        return self._with(array, lambda one, other: one + other)

    def max(self, array: Any) -> Any:
        return self._with(array, lambda one, other: array_api_compat.array_namespace(one).maximum(one, other))

    def _with(self, array: Any, combine: Callable[[Any, Any], Any]) -> Any:
        self.slots[self.rank] = array
        self.barrier.wait()
        combined = combine(*self.slots)
        self.barrier.wait()
        return combined


def evaluator(shard: Callable[[Problem, Any], Results]) -> Evaluate:
    """Evaluates both shards by `shard(problem, across)`, and puts the gradients together again."""

    def evaluate(spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> Results:
        problem = Problem(spec, x, params, mask)
        return merged(problem, _at_once(shard, split(problem)))

    return evaluate


def split(problem: Problem) -> list[Problem]:
    """The first half of the samples, and the other; each input that has an entry for each sample is cut with them."""
    axis = _batch_axis(problem)
    half = problem.x.shape[axis] // 2
    if not half:
        raise Unsupported("a single sample cannot be shared")

    def part(array: Any, rows: slice, along: int) -> Any:
        return array[(*(slice(None),) * along, rows)]

    shards = []
    for rows in (slice(half), slice(half, None)):
        params = {n: part(p, rows, axis) if p.shape == problem.x.shape else p for n, p in problem.params.items()}
        cut = problem.mask is not None and problem.mask.ndim > axis
        mask = part(problem.mask, rows, axis) if cut else problem.mask
        shards.append(Problem(problem.spec, part(problem.x, rows, axis), params, mask))
        _check(shards[-1])
    return shards


def _check(shard: Problem) -> None:
    try:
        shard.spec.check(shard.x.shape, **{name: shard.params[name].shape for name in shard.spec.inputs()})
    except ValueError as reason:
        raise Unsupported(f"a shard of it is refused: {reason}") from None


def merged(problem: Problem, results: list[Results]) -> Results:
    """The common value, and gradients as a data-parallel trainer averages them."""
    values = [result.pop("value") for result in results]
    if not all(np.array_equal(value, values[0], equal_nan=True) for value in values):
        raise RuntimeError(f"replicas have different values: {[float(value) for value in values]}")
    axis = _batch_axis(problem)
    whole = {"value": values[0]}
    for name in results[0]:
        parts = [result[name] for result in results]
        sharded = parts[0].shape != {"x": problem.x, **problem.params}[name].shape
        mean = np.concatenate(parts, axis=axis) / SIZE if sharded else sum(parts) / SIZE
        whole[name] = np.asarray(mean, dtype=parts[0].dtype)
    return whole


def shares(spec: Any) -> bool:
    """Whether there are statistics to share: over equal shards the mean of anything else is that of the whole."""
    return not spec.additive and _fields(spec).get("vector_axis") is None


def _batch_axis(problem: Problem) -> int:
    """Which axis of x has the samples. Raises Unsupported where there is none."""
    fields = _fields(problem.spec)
    if not shares(problem.spec):
        raise Unsupported("it shares no statistics")
    if "batch_axis" not in fields and fields.get("feature_axis", -1) % problem.x.ndim == 0:
        raise Unsupported("the first axis of this example is that of the units")
    batch = fields.get("batch_axis", 0)
    return (batch[0] if isinstance(batch, tuple) else batch) % problem.x.ndim


def _fields(spec: Any) -> dict[str, Any]:
    (term,) = spec.terms()
    return {field.name: getattr(term.penalty, field.name) for field in dataclasses.fields(term.penalty)}


def _at_once(shard: Callable[[Problem, Any], Results], problems: list[Problem]) -> list[Results]:
    slots: list[Any] = [None] * SIZE
    barrier = threading.Barrier(SIZE, timeout=PATIENCE)

    def run(rank: int) -> Results:
        try:
            return shard(problems[rank], Exchange(rank, slots, barrier))
        except BaseException:
            barrier.abort()
            raise

    with concurrent.futures.ThreadPoolExecutor(SIZE) as pool:
        futures = [pool.submit(run, rank) for rank in range(SIZE)]
        faults = [fault for future in futures if (fault := future.exception())]
    for fault in sorted(faults, key=lambda fault: isinstance(fault, threading.BrokenBarrierError)):
        raise fault
    return [future.result() for future in futures]
