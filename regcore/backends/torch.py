"""PyTorch: an `autograd.Function` carries the closed form, in eager mode, torch.compile and torch.func."""

import contextlib
import math
from typing import Any

import array_api_compat.torch as xp
import torch

from .. import precision


def namespace(x: Any) -> Any:
    return xp


def shape(x: torch.Tensor) -> tuple[int | None, ...]:
    return tuple(x.shape)


def asarray(constant: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(constant, device=x.device)


def value(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any) -> torch.Tensor:
    arguments = (spec, across, tuple(params), mask, x, *params.values())
    if not torch.compiler.is_compiling():
        return _PenaltyWithJvp.apply(*arguments)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *params.values())):
        return _Penalty.apply(*arguments)
    return _Penalty.forward(*arguments)  # Dynamo hands a context to an apply that needs no gradient, as first argument


def attach(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, factors: Any) -> torch.Tensor:
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in (x, *params.values())):
        return x
    tensors = [factor for factor in factors if isinstance(factor, torch.Tensor)]
    number = math.prod([float(factor) for factor in factors if not isinstance(factor, torch.Tensor)])
    return _Attached.apply(spec, across, tuple(params), number, len(tensors), mask, x, *tensors, *params.values())


def grad(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    with _full_precision(x):
        return precision.grad(xp, spec, x, params, mask, across, upstream)


def _full_precision(x: torch.Tensor) -> Any:
    """Without autocast, which would make half-precision products even of float32; the meta device knows none."""
    return contextlib.nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)


class _Penalty(torch.autograd.Function):
    """The backward is made of differentiable operations on saved inputs, so it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec: Any, across: Any, names: tuple[str, ...], mask: Any, x: Any, *params: Any) -> Any:
        with _full_precision(x):
            return precision.value(xp, spec, x, dict(zip(names, params, strict=True)), mask, across)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.spec, ctx.across, ctx.names, mask, x, *params = inputs
        ctx.save_for_backward(mask, x, *params)
        ctx.save_for_forward(mask, x, *params)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        return _Penalty.gradients(ctx, ctx.saved_tensors, upstream)

    @staticmethod
    def gradients(ctx: Any, saved: Any, upstream: Any) -> Any:
        mask, x, *params = saved
        dx, dparams = grad(ctx.spec, x, dict(zip(ctx.names, params, strict=True)), mask, ctx.across, upstream)
        return None, None, None, None, dx, *(dparams.get(name) for name in ctx.names)  # labels have none


class _PenaltyWithJvp(_Penalty):
    """Forward mode as well, outside torch.compile: Dynamo refuses a Function that has a jvp."""

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        try:
            saved = ctx.saved_tensors
        except RuntimeError as error:
            if "inplace" not in str(error):
                raise
            raise RuntimeError(
                f"what {ctx.spec} penalized was changed in place before backward: penalize a copy, x.clone(), or with "
                "regcore_torch.regularize pass clone=True"
            ) from error
        return _Penalty.gradients(ctx, saved, upstream)

    @staticmethod
    def jvp(ctx: Any, _spec: Any, _across: Any, _names: Any, _mask: Any, *tangents: Any) -> Any:
        mask, x, *params = ctx.saved_tensors
        with _full_precision(x):
            named = dict(zip(ctx.names, params, strict=True))
            dx, dparams = precision.wide_grad(xp, ctx.spec, x, named, mask, ctx.across)
            products = [
                (d * tangent.to(d.dtype)).sum()
                for d, tangent in zip((dx, *(dparams.get(name) for name in ctx.names)), tangents, strict=True)
                if d is not None and tangent is not None
            ]
            return sum(products).to(torch.float64 if x.dtype == torch.float64 else torch.float32)


class _Attached(torch.autograd.Function):
    """Identity, with the gradient of the penalty in its backward, where factors are read: by then the loss is known."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec: Any, across: Any, names: Any, number: float, factors: int, mask: Any, x: Any, *rest: Any) -> Any:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.spec, ctx.across, ctx.names, ctx.number, ctx.factors, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        mask, x, *rest = ctx.saved_tensors
        scale = math.prod(rest[: ctx.factors], start=ctx.number)
        params = dict(zip(ctx.names, rest[ctx.factors :], strict=True))
        dx, dparams = grad(ctx.spec, x, params, mask, ctx.across, scale)
        nothing = [None] * (6 + ctx.factors)
        return *nothing[:6], upstream + dx, *nothing[6:], *(dparams.get(name) for name in ctx.names)
