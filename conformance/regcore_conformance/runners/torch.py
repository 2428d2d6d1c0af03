"""PyTorch: autograd in eager mode, and through torch.compile with its default compiler."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch._dynamo

from ..cases import UPSTREAM
from . import Evaluate, floating
from .bundle import Bundle, Problem, Results


def evaluators(device: str) -> dict[str, Evaluate]:
    def eager(*problem: Any) -> Results:
        (results,) = _run(_Call(problem[:1]), device, [Problem(*problem)])
        return results

    return {"eager": eager, "compile": Bundle(functools.partial(_compile, device))}


def _compile(device: str, specs: tuple[Any, ...]) -> Any:
    torch._dynamo.reset()
    return functools.partial(_run, torch.compile(_CallAndProve(specs), fullgraph=True, dynamic=False), device)


class _Call:
    def __init__(self, specs: tuple[Any, ...]) -> None:
        self.specs = specs

    def __call__(self, inputs: Any) -> list[Any]:
        pairs = zip(self.specs, inputs, strict=True)
        return [spec(tensors["x"], params, mask=mask) for spec, (tensors, params, mask) in pairs]


class _CallAndProve(_Call):
    def __call__(self, inputs: Any) -> list[Any]:
        if not torch.compiler.is_compiling():
            raise RuntimeError("this was to be compiled and ran in eager mode")
        return super().__call__(inputs)


def _run(function: Any, device: str, problems: Sequence[Problem]) -> list[Results]:
    inputs = [_tensors(problem, device) for problem in problems]
    values = function(inputs)
    leaves = [tensor for by, _, _ in inputs for tensor in by.values()]
    gradients = iter(torch.autograd.grad(values, leaves, [torch.full_like(value, UPSTREAM) for value in values]))
    results = [
        {"value": value, **{name: next(gradients) for name in by}}
        for value, (by, _, _) in zip(values, inputs, strict=True)
    ]
    tensors = [tensor for named in results for tensor in named.values()]
    if wrong := {str(tensor.device) for tensor in tensors if tensor.device.type != device}:
        raise RuntimeError(f"results are on {wrong} and were to be on {device}")
    return [{name: tensor.detach().cpu().numpy() for name, tensor in named.items()} for named in results]


def _tensors(problem: Problem, device: str) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What is differentiated by, with `x` under its name; learned parameters and inputs; and the mask."""
    given = {"x": problem.x, **problem.params}
    tensors = {name: torch.tensor(array, device=device) for name, array in given.items()}
    by = {name: tensors[name].requires_grad_() for name in ["x", *floating(problem.params)]}
    mask = None if problem.mask is None else torch.tensor(problem.mask, device=device)
    return by, {name: tensors[name] for name in problem.params}, mask
