"""Forward and backward in PyTorch, eager and compiled."""

import functools
from typing import Any

import torch

import regcore
import regcore_torch

from . import torch_by_hand, torch_peers
from .row import BY_HAND, Row, Shape, Step, arrays
from .torch_models import layers as layers
from .torch_models import lstm as lstm


def array(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    """One array, and the learned parameters."""
    dtype = torch.bfloat16 if setting == "bfloat16" else torch.float32
    named = {name: torch.tensor(a, device=device, dtype=dtype) for name, a in arrays(spec, shape).items()}
    x, *params = [tensor.requires_grad_() for tensor in named.values()]
    names = [name for name in named if name != "x"]

    def ours(x: Any, **params: Any) -> Any:
        return regcore.value(spec, x, params)

    functions = {"peer": getattr(torch_peers, row.peer)} if row.peer else {}
    functions["ours"] = ours
    functions |= _by_hand(row)
    if row.library == "torch.compile":
        functions = {name: torch.compile(function, fullgraph=True) for name, function in functions.items()}
    return {
        name: functools.partial(_step, f, x, dict(zip(names, params, strict=True))) for name, f in functions.items()
    }


def _by_hand(row: Row) -> dict[str, Any]:
    return {BY_HAND: getattr(torch_by_hand, row.by_hand)} if row.by_hand else {}


def _step(function: Any, x: Any, params: dict[str, Any]) -> tuple[Any, list[Any]]:
    leaves = [x, *params.values()]
    for leaf in leaves:
        leaf.grad = None
    value = function(x, **params)
    value.backward()
    return value.detach(), [leaf.grad for leaf in leaves]


def many(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    """A list of equal arrays: the first entry of the shape counts them."""
    whole = torch.tensor(arrays(spec, shape)["x"], device=device)
    leaves = [part.clone().requires_grad_() for part in whole]
    functions = {"peer": getattr(torch_peers, row.peer), "ours": functools.partial(_together, spec), **_by_hand(row)}
    return {name: functools.partial(_steps, function, leaves) for name, function in functions.items()}


def _together(spec: regcore.Penalty, xs: list[Any]) -> Any:
    """By the one node that the adapter has for many arrays."""
    return regcore_torch.values(spec, xs).sum()


def _steps(function: Any, leaves: list[Any]) -> tuple[Any, list[Any]]:
    for leaf in leaves:
        leaf.grad = None
    value = function(leaves)
    value.backward()
    return value.detach(), [leaf.grad for leaf in leaves]
