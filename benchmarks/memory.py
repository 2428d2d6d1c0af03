"""How much memory a step takes beyond its inputs and the gradient, and how many kernels and products it runs."""

import ctypes
import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

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

    step()  # what is found out once, such as the size of a group
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
    """Bytes of each storage that is saved when backward begins, and was not there before, by its address.

    Hooks on saved tensors would tell as well, but sites of a model are not evaluated together where there are any.
    """
    import torch

    plain = (torch.Tensor, torch.nn.Parameter)  # others, such as fake ones that a compiler left, may have no address
    held = [tensor.untyped_storage() for tensor in gc.get_objects() if type(tensor) in plain]
    there = {storage.data_ptr() for storage in held}  # while they are held, nothing else gets their addresses
    found: dict[int, int] = {}

    def backward(loss: Any, *args: Any, **options: Any) -> None:
        storages = [tensor.untyped_storage() for node in _nodes(loss.grad_fn) for tensor in _saved_by(node)]
        found.update({each.data_ptr(): each.nbytes() for each in storages if each.data_ptr() not in there})
        original(loss, *args, **options)

    original = torch.Tensor.backward
    with mock.patch.object(torch.Tensor, "backward", backward):
        yield found


def _nodes(root: Any) -> set[Any]:
    """Of the graph that ends in `root`."""
    found, waiting = {root}, [root]
    while waiting:
        before = {node for node, _ in waiting.pop().next_functions if node is not None} - found
        found |= before
        waiting += before
    return found


def _saved_by(node: Any) -> list[Any]:
    import torch

    names = [name for name in dir(node) if name.startswith("_saved_") or name == "saved_tensors"]
    values = [getattr(node, name) for name in names]
    flat = [each for value in values for each in (value if isinstance(value, (tuple, list)) else [value])]
    return [each for each in flat if isinstance(each, torch.Tensor)]
