"""What the machine can do at best: bytes copied and operations of matrix products in a second."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .row import Row, Shape
from .timing import SAMPLE, Clock, quartiles, rounds

COPIED = 1 << 25  # float32 numbers, 128 MB
SIDE = 2048


def rates(library: str, setting: str, device: str, clock: Clock, sample: float = SAMPLE) -> dict[str, float]:
    """By "bytes" and "flops"; a copy reads and writes each byte. Of small arrays where a sample is short."""
    small = sample < SAMPLE
    copied, side = (1 << 12, 64) if small else (COPIED, SIDE)
    copy, product, size = (_in_torch if library.startswith("torch") else _in_numpy)(copied, side, setting, device)
    times = rounds({"copy": copy, "product": product}, clock, 0.0 if small else 1.0, sample)
    return {
        "bytes": 2.0 * copied * size / quartiles(times["copy"])[1],
        "flops": 2.0 * side**3 / quartiles(times["product"])[1],
    }


def _in_torch(copied: int, side: int, setting: str, device: str) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    import torch

    dtype = torch.bfloat16 if setting == "bfloat16" else torch.float32
    source, target = (torch.ones(copied, device=device, dtype=dtype) for _ in range(2))
    a, out = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: target.copy_(source), lambda: torch.mm(a, a, out=out), dtype.itemsize


def _in_numpy(copied: int, side: int, setting: str, device: str) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    source, target = (np.ones(copied, dtype=np.float32) for _ in range(2))
    a, out = (np.ones((side, side), dtype=np.float32) for _ in range(2))
    b = a.copy()  # of a matrix and itself NumPy makes a symmetric product
    return lambda: np.copyto(target, source), lambda: np.matmul(a, b, out=out), 4


def floor(row: Row, shape: Shape, size: int, rates: Mapping[str, float]) -> float | None:
    """The seconds that no implementation can go below, or None where a row states no work."""
    moved = row.passes * size * float(np.prod(shape)) / rates["bytes"]
    return max(moved, row.flops(*shape) / rates["flops"] if row.flops else 0.0) or None
