"""Times of the variants of a row: interleaved in one process, in random order, a ratio for each round."""

import gc
import math
import random
import time
from collections.abc import Callable, Mapping

import numpy as np

from .row import Step

SAMPLE = 0.02  # seconds: what is shorter is repeated until it takes so long
LEAST, MOST = 5, 41  # rounds

Clock = Callable[[], float]


def rounds(steps: Mapping[str, Step], clock: Clock, seconds: float, sample: float = SAMPLE) -> dict[str, list[float]]:
    """Seconds of a call of each variant in each round; as many rounds as fit into `seconds`, but at least 5."""
    order, shuffle = list(steps), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    try:
        once = {name: _call(step, 1, clock) for name, step in steps.items()}
        repeats = {name: math.ceil(sample / min(max(each, 1e-9), sample)) for name, each in once.items()}
        round_ = sum([repeats[name] * each for name, each in once.items()])
        for _ in range(min(MOST, max(LEAST, int(seconds / round_)))):
            shuffle.shuffle(order)
            for name in order:
                times[name].append(_call(steps[name], repeats[name], clock))
    finally:
        gc.enable()
    return times


def _call(step: Step, repeats: int, clock: Clock) -> float:
    """The mean of so many calls."""
    start = clock()
    for _ in range(repeats):
        step()
    return (clock() - start) / repeats


def quartiles(values: list[float]) -> list[float]:
    """25 %, median, 75 %."""
    return [float(q) for q in np.percentile(values, [25, 50, 75])]


def ratios(times: Mapping[str, list[float]], over: str, under: str) -> list[float]:
    """Quartiles of the ratios of two variants, each within a round."""
    return quartiles([a / b for a, b in zip(times[over], times[under], strict=True)])


def clock(device: str, wall: bool) -> Clock:
    """Time of all threads of this process; on a GPU, or if asked for, time on the wall."""
    if device == "cuda":
        import torch

        def synchronized() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return synchronized
    return time.perf_counter if wall else time.process_time
