"""PyTorch in eager mode: functions of variances, whose slopes wait for backward, so that it reads x once."""

import math
from typing import Any

import torch
from torch import Tensor

from .. import precision, variances
from ..moments import Axes, first_sample
from ..replicas import Alone
from . import torch_arrays as xp
from . import torch_calls as calls
from .torch_functions import along, unchanged


def value(call: calls.Call, x: Tensor, params: Any) -> Tensor:
    """The penalty, of which nothing is saved for backward but its inputs and numbers for each unit."""
    result: Tensor = _Lines.apply(call, x, *params.values())
    return result


class _Lines(torch.autograd.Function):
    """Backward takes the statistics again only to be differentiated itself."""

    @staticmethod
    def forward(ctx: Any, call: calls.Call, x: Tensor, *params: Tensor) -> Tensor:
        ctx.call = call
        with calls.full_precision(x):
            found = _lines(call, x, dict(zip(call.names, params, strict=True)))
        ctx.learned = tuple(found.by_params)
        ctx.save_for_backward(x, *params, found.mean, found.slope, *found.by_params.values())
        ctx.save_for_forward(None, x, *params)
        return precision.rounded(xp, x, found.value)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        call = ctx.call
        x, *saved = unchanged(ctx, call.spec)
        params, (mean, slope, *by) = dict(zip(call.names, saved, strict=False)), saved[len(call.names) :]
        if torch.is_grad_enabled():
            dx, by_params = calls.grad(call.spec, x, params, None, Alone, upstream)
        else:
            found = variances.Lines(upstream, mean, slope, dict(zip(ctx.learned, by, strict=True)))
            with calls.full_precision(x):
                dx, by_params = _along(call, x, params, found, upstream)
        return None, dx, *(by_params.get(name) for name in call.names)

    @staticmethod
    def jvp(ctx: Any, _call: Any, *tangents: Any) -> Any:
        return along(ctx.call, ctx.saved_tensors, tangents)


def _lines(call: calls.Call, x: Tensor, params: Any) -> variances.Lines:
    if large := calls.in_pieces(call.spec, x, params, None, Alone):
        found: variances.Lines = large.lines()
        return found
    term, batch = call.term, call.term.penalty.batch(call.shape)
    wide, params = precision.wide(xp, call.spec, x, params)
    n = math.prod([x.shape[axis] for axis in batch])
    return variances.lines(xp, term, n, *sums(wide - first_sample(wide, batch), batch, n), params)


def sums(x: Tensor, batch: Axes, n: int) -> tuple[Tensor, Tensor]:
    """The mean of each unit, and the sum of its squared deviations; `x`, less the first sample, is written over."""
    mean = x.sum(batch, keepdim=True) * (1.0 / n)
    x.sub_(mean).mul_(x)
    return mean, x.sum(batch, keepdim=True)


def _along(call: calls.Call, x: Tensor, params: Any, found: variances.Lines, upstream: Tensor) -> Any:
    if large := calls.in_pieces(call.spec, x, params, None, Alone):
        return large.along(found, upstream)
    wide, _ = precision.wide(xp, call.spec, x, {})
    by_params = {name: upstream * d for name, d in found.by_params.items()}
    centred = wide - first_sample(wide, call.term.penalty.batch(call.shape))
    dx = centred.sub_(found.mean).mul_(found.slope * upstream)
    return precision.round_once(xp, dx, x.dtype), {
        name: precision.round_once(xp, d, params[name].dtype) for name, d in by_params.items()
    }
