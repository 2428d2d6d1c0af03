"""PyTorch: an `autograd.Function` carries the closed form, in eager mode, torch.compile and torch.func."""

import contextlib
import math
from typing import Any

import torch

from .. import pieces, precision, slabs
from . import torch_arrays as xp
from . import torch_variances


def namespace(x: Any) -> Any:
    return xp


def shape(x: torch.Tensor) -> tuple[int | None, ...]:
    return tuple(x.shape)


def asarray(constant: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(constant, device=x.device)


def value(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any) -> torch.Tensor:
    arguments = (spec, across, tuple(params), mask, x, *params.values())
    if _differentiates(x, params) and precision.one_pass(spec, x, across):
        return (_OnePass if torch.compiler.is_compiling() else _OnePassWithJvp).apply(*arguments)[0]
    if not torch.compiler.is_compiling():
        if torch_variances.takes(spec, x, mask, across):
            return torch_variances.value(spec, x, params)
        return (_PenaltyWithJvp if torch._C._are_functorch_transforms_active() else _PenaltyInEager).apply(*arguments)
    if _differentiates(x, params):
        return _Penalty.apply(*arguments)
    return _Penalty.forward(*arguments)  # Dynamo hands a context to an apply that needs no gradient, as first argument


def value_and_grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    return value(spec, x, params, mask, across), grad(spec, x, params, mask, across, upstream)


def attach(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, factors: Any) -> torch.Tensor:
    if not _differentiates(x, params):
        return x
    tensors = [factor for factor in factors if isinstance(factor, torch.Tensor)]
    number = math.prod([float(factor) for factor in factors if not isinstance(factor, torch.Tensor)])
    return _Attached.apply(spec, across, tuple(params), number, len(tensors), mask, x, *tensors, *params.values())


def grad(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    with _full_precision(x):
        differentiates = _differentiates(x, {**params, "upstream": upstream})  # what is written to cannot be
        if large := None if differentiates else _pieces(spec, x, params, mask, across):
            return large.grad(upstream)
        return precision.grad(xp, spec, x, params, mask, across, upstream)


def _pieces(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any) -> Any:
    """Of an array that can be written to, and not while a transformation gives it other axes."""
    largest = pieces.CACHED if x.device.type == "cpu" else pieces.ELSEWHERE
    if torch.compiler.is_compiling() or x.numel() <= largest:
        return None
    if type(x) not in (torch.Tensor, torch.nn.Parameter) or torch._C._are_functorch_transforms_active():
        return None
    return slabs.cut(xp, xp.Writer, spec, x, params, mask, across, x.stride(), largest)


def _differentiates(x: torch.Tensor, params: Any) -> bool:
    tensors = [tensor for tensor in (x, *params.values()) if isinstance(tensor, torch.Tensor)]
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _full_precision(x: torch.Tensor) -> Any:
    """Without autocast, which would make half-precision products even of float32; the meta device knows none."""
    device = x.device.type
    if device == "meta" or not (torch.compiler.is_compiling() or torch.is_autocast_enabled(device)):
        return _AS_IT_IS
    return torch.autocast(device, enabled=False)


_AS_IT_IS = contextlib.nullcontext()


class _Penalty(torch.autograd.Function):
    """The backward is made of differentiable operations on saved inputs, so it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec: Any, across: Any, names: tuple[str, ...], mask: Any, x: Any, *params: Any) -> Any:
        with _full_precision(x):
            named = dict(zip(names, params, strict=True))
            large = _pieces(spec, x, named, mask, across)
            return large.value() if large else precision.value(xp, spec, x, named, mask, across)

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
        return _Penalty.gradients(ctx, _unchanged(ctx), upstream)

    @staticmethod
    def jvp(ctx: Any, _spec: Any, _across: Any, _names: Any, _mask: Any, *tangents: Any) -> Any:
        return _along(ctx, ctx.saved_tensors, tangents)


class _PenaltyInEager(torch.autograd.Function):
    """The same without `setup_context`, which transforms need, and which takes longer than a small penalty."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        _Penalty.setup_context(ctx, inputs, None)
        return _Penalty.forward(*inputs)

    backward = staticmethod(_PenaltyWithJvp.backward)
    jvp = staticmethod(_PenaltyWithJvp.jvp)


class _OnePass(torch.autograd.Function):
    """Gradients come with the value and wait for backward, which takes them again only to be differentiated itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spec: Any, across: Any, names: tuple[str, ...], mask: Any, x: Any, *params: Any) -> Any:
        named = dict(zip(names, params, strict=True))
        with _full_precision(x):
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
        return _OnePass.gradients(ctx, ctx.saved_tensors, upstream)

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


class _OnePassWithJvp(_OnePass):
    """Forward mode as well, outside torch.compile."""

    @staticmethod
    def backward(ctx: Any, upstream: Any, *nothing: Any) -> Any:
        return _OnePass.gradients(ctx, _unchanged(ctx), upstream)

    @staticmethod
    def jvp(ctx: Any, _spec: Any, _across: Any, _names: Any, _mask: Any, *tangents: Any) -> Any:
        known = sum(tensor.is_floating_point() for tensor in ctx.saved_tensors[2:])
        return _along(ctx, ctx.saved_tensors, tangents), *[None] * (1 + known)


def _unchanged(ctx: Any) -> Any:
    """What was saved, unless it was changed since."""
    try:
        return ctx.saved_tensors
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        raise RuntimeError(
            f"what {ctx.spec} penalized was changed in place before backward: penalize a copy, x.clone(), or with "
            "regcore_torch.regularize pass clone=True"
        ) from error


def _along(ctx: Any, saved: Any, tangents: Any) -> Any:
    """The derivative along the tangents."""
    mask, x, *params = saved
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
