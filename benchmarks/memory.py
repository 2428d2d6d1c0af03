"""How much memory a step takes beyond its inputs and the gradient, and how many kernels and products it runs."""

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .row import Row, Step

SIZES = {"torch.bfloat16": 2}  # of a number; all others are float32
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra(row: Row, step: Step, warm: Step, device: str) -> int | None:
    """Bytes at the peak, beyond what was there before and the gradients that are there afterwards; None if unknown.

    `warm` is the step on small arrays, after which libraries have what they keep.
    """
    if row.library == "jax":
        from .jax_steps import temporary

        return temporary(step)
    if device == "cuda":
        return _on_cuda(step, warm)
    if not CLEAR.exists():
        return None  # only Linux tells
    warm()
    if row.library not in ("torch", "numpy") or row.kind in ("layers", "lstm"):
        step()  # traces, or makes the gradients of parameters, which stay
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")
    before = _status("VmRSS")
    _, gradients = step()
    return max(0, _status("VmHWM") - before - (0 if row.kind in ("layers", "lstm") else _bytes(gradients)))


def _on_cuda(step: Step, warm: Step) -> int:
    import torch

    warm()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _, gradients = step()
    torch.cuda.synchronize()
    return max(0, torch.cuda.max_memory_allocated() - before - _bytes(gradients))


def _bytes(gradients: list[Any]) -> int:
    return sum([math.prod(gradient.shape) * SIZES.get(str(gradient.dtype), 4) for gradient in gradients])


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def counts(step: Step) -> dict[str, int]:
    """Of an eager PyTorch step: kernels, operations of matrix products, bytes saved for backward."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as flops, _kernels() as kernels, _saved() as saved:
        step()
    return {"kernels": kernels[0], "flops": int(flops.get_total_flops()), "saved": sum(saved.values())}


@contextmanager
def _kernels() -> Iterator[list[int]]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found[0] += not func.is_view
            return func(*args, **(kwargs or {}))

    found = [0]
    with Count():
        yield found


@contextmanager
def _saved() -> Iterator[dict[int, int]]:
    """Bytes of each storage that is saved and is no input, by its address."""
    import torch

    found: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        if not (tensor if tensor._base is None else tensor._base).is_leaf:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
