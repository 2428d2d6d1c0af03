"""PyTorch: the `autograd.Function`s that carry the closed form, in eager mode, torch.compile and torch.func."""

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from .. import precision
from . import torch_arrays as xp
from .torch_calls import Call, full_precision, grad, value


class Penalty(torch.autograd.Function):
    """The backward is made of differentiable operations on saved inputs, so it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec: Any, across: Any, names: tuple[str, ...], mask: Any, x: Any, *params: Any) -> Any:
        return value(spec, x, dict(zip(names, params, strict=True)), mask, across)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.spec, ctx.across, ctx.names, mask, x, *params = inputs
        ctx.save_for_backward(mask, x, *params)
        ctx.save_for_forward(mask, x, *params)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        return Penalty.gradients(ctx, ctx.saved_tensors, upstream)

    @staticmethod
    def gradients(ctx: Any, saved: Any, upstream: Any) -> Any:
        mask, x, *params = saved
        dx, dparams = grad(ctx.spec, x, dict(zip(ctx.names, params, strict=True)), mask, ctx.across, upstream)
        return None, None, None, None, dx, *(dparams.get(name) for name in ctx.names)  # labels have none


class PenaltyWithJvp(Penalty):
    """Forward mode as well, outside torch.compile: Dynamo refuses a Function that has a jvp."""

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        return Penalty.gradients(ctx, unchanged(ctx, ctx.spec), upstream)

    @staticmethod
    def jvp(ctx: Any, _spec: Any, _across: Any, _names: Any, _mask: Any, *tangents: Any) -> Any:
        return along(ctx, ctx.saved_tensors, tangents)


class PenaltyInEager(torch.autograd.Function):
    """The same without `setup_context`, which transforms need, and which takes longer than a small penalty."""

    @staticmethod
    def forward(ctx: Any, call: Call, mask: Any, x: Any, *params: Any) -> Any:
        ctx.call = call
        ctx.save_for_backward(mask, x, *params)
        if forward_ad._current_level >= 0:
            ctx.save_for_forward(mask, x, *params)
        return call.value(x, params, mask)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        call = ctx.call
        mask, x, *params = unchanged(ctx, call.spec)
        dx, dparams = call.grad(x, params, mask, upstream)
        return None, None, dx, *[dparams.get(name) for name in call.names]  # labels have none

    @staticmethod
    def jvp(ctx: Any, _call: Any, _mask: Any, *tangents: Any) -> Any:
        return along(ctx.call, ctx.saved_tensors, tangents)


class OnePass(torch.autograd.Function):
    """Gradients come with the value and wait for backward, which takes them again only to be differentiated itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec: Any, across: Any, names: tuple[str, ...], mask: Any, x: Any, *params: Any) -> Any:
        named = dict(zip(names, params, strict=True))
        with full_precision(x):
            result, (dx, dparams) = precision.wide_value_and_grad(xp, spec, x, named, mask, across)
        return result, dx, *(dparams[name] for name in names if name in dparams)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.spec, ctx.across, ctx.names, mask, x, *params = inputs
        _, *gradients = output
        ctx.mark_non_differentiable(*gradients)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mask, x, *params, *gradients)
        ctx.save_for_forward(mask, x, *params)

    @staticmethod
    def backward(ctx: Any, upstream: Any, *nothing: Any) -> Any:
        return OnePass.gradients(ctx, ctx.saved_tensors, upstream)

    @staticmethod
    def gradients(ctx: Any, saved: Any, upstream: Any) -> Any:
        if upstream is None:
            return None, None, None, None, None, *(None for _ in ctx.names)
        mask, x, *rest = saved
        params = dict(zip(ctx.names, rest, strict=False))
        if torch.is_grad_enabled():
            dx, dparams = grad(ctx.spec, x, params, mask, ctx.across, upstream)
        else:
            known = [name for name in ctx.names if params[name].is_floating_point()]
            dx, *by_params = rest[len(ctx.names) :]
            by_names = dict(zip(known, by_params, strict=True))
            dx, dparams = precision.scaled(xp, (dx, by_names), x, params, upstream)
        return None, None, None, None, dx, *(dparams.get(name) for name in ctx.names)


class OnePassWithJvp(OnePass):
    """Forward mode as well, outside torch.compile."""

    @staticmethod
    def backward(ctx: Any, upstream: Any, *nothing: Any) -> Any:
        return OnePass.gradients(ctx, unchanged(ctx, ctx.spec), upstream)

    @staticmethod
    def jvp(ctx: Any, _spec: Any, _across: Any, _names: Any, _mask: Any, *tangents: Any) -> Any:
        known = sum(tensor.is_floating_point() for tensor in ctx.saved_tensors[2:])
        return along(ctx, ctx.saved_tensors, tangents), *[None] * (1 + known)


def unchanged(ctx: Any, spec: Any) -> Any:
    """What was saved, unless it was changed since."""
    try:
        return ctx.saved_tensors
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        raise RuntimeError(
            f"what {spec} penalized was changed in place before backward: penalize a copy, x.clone(), or with "
            "regcore_torch.regularize pass clone=True"
        ) from error


def along(of: Any, saved: Any, tangents: Any) -> Any:
    """The derivative along the tangents, of a call or what a context knows of it."""
    mask, x, *params = saved
    with full_precision(x):
        named = dict(zip(of.names, params, strict=True))
        dx, dparams = precision.wide_grad(xp, of.spec, x, named, mask, of.across)
        products = [
            (d * tangent.to(d.dtype)).sum()
            for d, tangent in zip((dx, *(dparams.get(name) for name in of.names)), tangents, strict=True)
            if d is not None and tangent is not None
        ]
        return sum(products).to(torch.float64 if x.dtype == torch.float64 else torch.float32)


class Attached(torch.autograd.Function):
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
