"""What the machine can do at best: bytes copied, to old and to new memory, and operations of products in a second."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .row import Row, Shape
from .timing import SAMPLE, Clock, quartiles, rounds

Steps = dict[str, Callable[[], Any]]

COPIED = 1 << 25  # float32 numbers, 128 MB
SIDE = 2048


def rates(library: str, setting: str, device: str, clock: Clock, sample: float = SAMPLE) -> dict[str, float]:
    """By "bytes", "fresh" and "flops"; a copy reads and writes each byte. Of small arrays where a sample is short.

    "fresh" is a copy to memory that was not there before, as a gradient is.
    """
    small = sample < SAMPLE
    copied, side = (1 << 12, 64) if small else (COPIED, SIDE)
    steps, size = (_in_torch if library.startswith("torch") else _in_numpy)(copied, side, setting, device)
    middle = {name: quartiles(each)[1] for name, each in rounds(steps, clock, 0.0 if small else 1.0, sample).items()}
    return {
        "bytes": 2.0 * copied * size / middle["copy"],
        "fresh": 2.0 * copied * size / middle["fresh"],
        "flops": 2.0 * side**3 / middle["product"],
    }


def _in_torch(copied: int, side: int, setting: str, device: str) -> tuple[Steps, int]:
    import torch

    dtype = torch.bfloat16 if setting == "bfloat16" else torch.float32
    source, target = (torch.ones(copied, device=device, dtype=dtype) for _ in range(2))
    a, out = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    steps = {
        "copy": lambda: target.copy_(source),
        "fresh": lambda: source.clone(),
        "product": lambda: torch.mm(a, a, out=out),
    }
    return steps, dtype.itemsize


def _in_numpy(copied: int, side: int, setting: str, device: str) -> tuple[Steps, int]:
    source, target = (np.ones(copied, dtype=np.float32) for _ in range(2))
    a, out = (np.ones((side, side), dtype=np.float32) for _ in range(2))
    b = a.copy()  # of a matrix and itself NumPy makes a symmetric product
    steps = {
        "copy": lambda: np.copyto(target, source),
        "fresh": lambda: source.copy(),
        "product": lambda: np.matmul(a, b, out=out),
    }
    return steps, 4


def floor(row: Row, shape: Shape, size: int, rates: Mapping[str, float]) -> float | None:
    """The seconds that no implementation can go below, or None where a row states no work.

    The last two passes over the input read it and write a gradient that was not there before.
    """
    each = size * float(np.prod(shape))
    moved = 0.0 if row.passes == 0 else (row.passes - 2.0) * each / rates["bytes"] + 2.0 * each / rates["fresh"]
    return max(moved, row.flops(*shape) / rates["flops"] if row.flops else 0.0) or None
