"""PyTorch: autograd in eager mode, and through torch.compile with its default compiler."""

from typing import Any

import numpy as np
import torch
import torch._dynamo

from ..cases import UPSTREAM
from . import Evaluate


def describe() -> str:
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("highest")
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # otherwise torch.compile falls back to eager silently
    return f"torch {torch.__version__}, float32 products {torch.get_float32_matmul_precision()}"


def evaluators(device: str) -> dict[str, Evaluate]:
    def eager(spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> dict[str, np.ndarray]:
        return _differentiate(lambda x, params, mask: spec(x, params, mask=mask), x, params, mask, device)

    compiled = _Compiled()

    def compile_(spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> dict[str, np.ndarray]:
        return _differentiate(compiled.of(spec, x.shape), x, params, mask, device)

    return {"eager": eager, "compile": compile_}


class _Compiled:
    """The last compiled function, for the cases in a row that differ only in their data."""

    def __init__(self) -> None:
        self.key: Any = None

    def of(self, spec: Any, shape: tuple[int, ...]) -> Any:
        if self.key != (spec, shape):
            torch._dynamo.reset()
            self.key, self.function = (spec, shape), torch.compile(_CallAndProve(spec), fullgraph=True, dynamic=False)
        return self.function


class _CallAndProve:
    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def __call__(self, x: Any, params: Any, mask: Any) -> Any:
        if not torch.compiler.is_compiling():
            raise RuntimeError("this was to be compiled and ran in eager mode")
        return self.spec(x, params, mask=mask)


def _differentiate(function: Any, x: np.ndarray, params: Any, mask: Any, device: str) -> dict[str, np.ndarray]:
    inputs = {"x": x, **params}
    tensors = {name: torch.tensor(array, device=device, requires_grad=True) for name, array in inputs.items()}
    learned = {name: tensors[name] for name in params}
    value = function(tensors["x"], learned, None if mask is None else torch.tensor(mask, device=device))
    gradients = torch.autograd.grad(value, list(tensors.values()), torch.full_like(value, UPSTREAM))
    results = {"value": value, **dict(zip(tensors, gradients, strict=True))}
    if wrong := {str(tensor.device) for tensor in results.values() if tensor.device.type != device}:
        raise RuntimeError(f"results are on {wrong} and were to be on {device}")
    return {name: tensor.detach().cpu().numpy() for name, tensor in results.items()}
