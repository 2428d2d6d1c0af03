"""PyTorch: an `autograd.Function` carries the closed form, in eager mode, torch.compile and torch.func."""

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from .. import precision
from . import torch_arrays as xp
from . import torch_calls as calls
from . import torch_functions as functions
from . import torch_variances


def namespace(x: Any) -> Any:
    return xp


def shape(x: torch.Tensor) -> tuple[int | None, ...]:
    return tuple(x.shape)


def asarray(constant: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(constant, device=x.device)


def kind(x: torch.Tensor) -> Any:
    return None if torch.compiler.is_compiling() else (x.dtype, x.shape)


def value(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any) -> torch.Tensor:
    differentiates = calls.differentiates(x, params)
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _transformed(differentiates, (spec, across, tuple(params), mask, x, *params.values()))
    call = calls.call(spec, x, params, across)
    if differentiates and call.one_pass():
        return functions.OnePassWithJvp.apply(spec, across, call.names, mask, x, *params.values())[0]
    differentiates = differentiates or forward_ad._current_level >= 0
    if differentiates and mask is None and call.term and type(x) in calls.PLAIN:
        return torch_variances.value(call, x, params)
    if differentiates:
        return functions.PenaltyInEager.apply(call, mask, x, *params.values())
    return call.value(x, tuple(params.values()), mask)


def _transformed(differentiates: bool, arguments: tuple[Any, ...]) -> torch.Tensor:
    """In torch.compile, where Dynamo refuses a Function with a jvp, and in torch.func, which may want one."""
    spec, across, _, _, x, *_ = arguments
    compiling = torch.compiler.is_compiling()
    if differentiates and precision.one_pass(spec, x, across):
        return (functions.OnePass if compiling else functions.OnePassWithJvp).apply(*arguments)[0]
    if compiling and not differentiates:  # Dynamo hands a context to an apply that needs no gradient, as first argument
        return functions.Penalty.forward(*arguments)
    return (functions.Penalty if compiling else functions.PenaltyWithJvp).apply(*arguments)


def value_and_grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    transformed = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if transformed or calls.differentiates(x, params) or forward_ad._current_level >= 0:
        return value(spec, x, params, mask, across), calls.grad(spec, x, params, mask, across, upstream)
    return calls.value_and_grad(spec, x, params, mask, across, upstream)


def attach(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, factors: Any) -> torch.Tensor:
    if not calls.differentiates(x, params):
        return x
    tensors = [factor for factor in factors if isinstance(factor, torch.Tensor)]
    number = math.prod([float(factor) for factor in factors if not isinstance(factor, torch.Tensor)])
    arguments = (spec, across, tuple(params), number, len(tensors), mask, x)
    return functions.Attached.apply(*arguments, *tensors, *params.values())
