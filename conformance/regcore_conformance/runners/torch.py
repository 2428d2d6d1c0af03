"""PyTorch: autograd in eager mode, through torch.compile with its default compiler, under vmap, and twice."""

import functools
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch._dynamo

from ..cases import UPSTREAM
from . import Evaluate, blocks, directions, floating, in_float64, shards
from .bundle import Bundle, Mapped, Problem, Results

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def evaluators(device: str) -> dict[str, Evaluate]:
    def eager(*problem: Any) -> Results:
        (results,) = _run(_Call(problem[:1]), device, [Problem(*problem)])
        return results

    return {
        "eager": eager,
        "blocks": blocks.evaluator(eager),
        "compile": Bundle(functools.partial(_compile, device)),
        "vmap": Mapped(functools.partial(_vmap, device)),
        "second": functools.partial(_second, device),
        "shards": shards.evaluator(functools.partial(_shard, device)),
    }


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
    return [_arrays(named, device) for named in results]


def _vmap(device: str, groups: Sequence[Sequence[Problem]]) -> list[list[Results]]:
    """All data of each spec as one batch, each with derivatives of its own."""
    return [_vmap_one(device, group) for group in groups]


def _vmap_one(device: str, problems: Sequence[Problem]) -> list[Results]:
    spec, inputs = problems[0].spec, [_tensors(problem, device) for problem in problems]

    def differentiate(by: Any, params: Any, mask: Any) -> dict[str, Any]:
        value, pull_back = torch.func.vjp(lambda by: spec(by["x"], {**params, **_learned(by)}, mask=mask), by)
        return {"value": value, **pull_back(torch.full_like(value, UPSTREAM))[0]}

    by, params = ({name: torch.stack([p[i][name].detach() for p in inputs]) for name in inputs[0][i]} for i in (0, 1))
    mask = None if inputs[0][2] is None else torch.stack([p[2] for p in inputs])
    results = torch.func.vmap(differentiate, in_dims=(0, 0, None if mask is None else 0))(by, params, mask)
    if any(len(each) != len(problems) for each in results.values()):
        raise RuntimeError("this was to be mapped over a batch and is not")
    return [_arrays({name: each[i] for name, each in results.items()}, device) for i in range(len(problems))]


def _second(device: str, *problem: Any) -> Results:
    """v H w, by differentiating the gradient times v."""
    given = in_float64(Problem(*problem))
    by, params, mask = _tensors(given, device)
    v, w = directions({name: tuple(tensor.shape) for name, tensor in by.items()})
    value = given.spec(by["x"], params, mask=mask)
    first = torch.autograd.grad(value, list(by.values()), torch.full_like(value, UPSTREAM), create_graph=True)
    along = sum((d * torch.tensor(v[name], device=device)).sum() for name, d in zip(by, first, strict=True))
    if not along.requires_grad:
        return {"second": np.asarray(0.0)}
    second = torch.autograd.grad(along, list(by.values()), materialize_grads=True)
    total = sum((d * torch.tensor(w[name], device=device)).sum() for name, d in zip(by, second, strict=True))
    return _arrays({"second": total}, device)


def _shard(device: str, problem: Problem, across: Any) -> Results:
    by, params, mask = _tensors(problem, device)
    value = problem.spec(by["x"], params, mask=mask, across=across)
    gradients = torch.autograd.grad(value, list(by.values()), torch.full_like(value, UPSTREAM))
    return _arrays({"value": value, **dict(zip(by, gradients, strict=True))}, device)


def _learned(by: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in by.items() if name != "x"}


def _tensors(problem: Problem, device: str) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What is differentiated by, with `x` under its name; learned parameters and inputs; and the mask."""
    given = {"x": problem.x, **problem.params}
    tensors = {name: _tensor(array, device) for name, array in given.items()}
    by = {name: tensors[name].requires_grad_() for name in ["x", *floating(problem.params)]}
    mask = None if problem.mask is None else torch.tensor(problem.mask, device=device)
    return by, {name: tensors[name] for name in problem.params}, mask


def _tensor(array: np.ndarray, device: str) -> torch.Tensor:
    """NumPy and PyTorch know each other's dtypes, but for bfloat16."""
    if array.dtype == BFLOAT16:
        return torch.tensor(array.view(np.int16), device=device).view(torch.bfloat16)
    return torch.tensor(array, device=device)


def _arrays(tensors: dict[str, torch.Tensor], device: str) -> Results:
    if wrong := {str(tensor.device) for tensor in tensors.values() if tensor.device.type != device}:
        raise RuntimeError(f"results are on {wrong} and were to be on {device}")
    return {name: _array(tensor.detach().cpu()) for name, tensor in tensors.items()}


def _array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(BFLOAT16)
    return tensor.numpy()
