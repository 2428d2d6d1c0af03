"""PyTorch: functions of variances of many arrays of one shape, as one node that keeps what is per unit for backward."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import precision, variances
from ..moments import Axes, first_sample
from ..pieces import CACHED
from ..replicas import Alone
from . import torch_arrays as xp
from .torch_calls import full_precision
from .torch_functions import unchanged
from .torch_variances import sums

STACK = 2 * CACHED  # entries that are copied at once
MOST = 4096  # arrays in a group


def takes(spec: Any) -> bool:
    """Whether there is such a node for it."""
    return variances.term_of(spec, Alone) is not None


class LineGroup(torch.autograd.Function):
    """Arguments are those of `torch_groups._Group`, which is what it is differentiated by."""

    @staticmethod
    def forward(ctx: Any, spec: Any, names: tuple[str, ...], size: int, whole: Any, *tensors: Tensor) -> Tensor:
        ctx.spec, ctx.names, ctx.size, ctx.whole = spec, names, size, whole
        with full_precision(tensors[0]):
            found = _lines(spec, names, size, tensors)
        ctx.learned = tuple(found.by_params)
        ctx.save_for_backward(*tensors, found.mean, found.slope, *found.by_params.values())
        return precision.rounded(xp, tensors[0], found.value)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        saved = unchanged(ctx, ctx.spec)
        count = ctx.size * (1 + len(ctx.names))
        if torch.is_grad_enabled():
            gradients = ctx.whole(ctx.spec, ctx.names, ctx.size, saved[:count], upstream)
        else:
            mean, slope, *by_params = saved[count:]
            found = variances.Lines(upstream, mean, slope, dict(zip(ctx.learned, by_params, strict=True)))
            with full_precision(saved[0]):
                gradients = _gradients(ctx, saved[:count], found, upstream)
        return None, None, None, None, *gradients


def _lines(spec: Any, names: Sequence[str], size: int, tensors: Sequence[Tensor]) -> variances.Lines:
    """As of a single array, along a first axis of all of them."""
    term: Any = variances.term_of(spec, Alone)
    batch = _batch(term, tensors[0])
    n = math.prod([tensors[0].shape[axis - 1] for axis in batch])
    each = [sums(_shifted(wide, batch), batch, n) for _, wide in _chunks(spec, tensors[:size])]
    mean, squares = (torch.cat(parts) for parts in zip(*each, strict=True))
    stacks = [torch.stack(list(tensors[i : i + size])) for i in range(size, len(tensors), size)]
    dtype = precision.wide_dtype(xp, spec, tensors[0])

    def of_each(mean: Tensor, squares: Tensor, *params: Tensor) -> Any:
        named = {name: precision.cast(xp, param, dtype) for name, param in zip(names, params, strict=True)}
        return tuple(variances.lines(xp, term, n, mean, squares, named))

    return variances.Lines(*torch.func.vmap(of_each)(mean, squares, *stacks))


def _gradients(ctx: Any, tensors: Sequence[Tensor], found: variances.Lines, upstream: Tensor) -> Iterator[Tensor]:
    term: Any = variances.term_of(ctx.spec, Alone)
    xs, size = tensors[: ctx.size], ctx.size
    batch, dtype = _batch(term, xs[0]), found.slope.dtype
    upstream = precision.cast(xp, upstream, dtype)
    slope = found.slope * upstream.reshape(size, *[1] * xs[0].ndim)
    for start, wide in _chunks(ctx.spec, xs):
        some = slice(start, start + wide.shape[0])
        dx = _shifted(wide, batch).sub_(found.mean[some]).mul_(slope[some])
        yield from precision.round_once(xp, dx, xs[0].dtype).unbind()
    for i, name in enumerate(ctx.names):
        d = upstream * found.by_params[name]
        yield from precision.round_once(xp, d, tensors[size * (1 + i)].dtype).unbind()


def _chunks(spec: Any, xs: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Stacks that stay in the cache, in the dtype to compute in, and where each begins."""
    many = max(1, STACK // xs[0].numel())
    for i in range(0, len(xs), many):
        yield i, precision.wide(xp, spec, torch.stack(list(xs[i : i + many])), {})[0]


def _batch(term: Any, x: Tensor) -> Axes:
    return tuple([1 + axis for axis in term.penalty.batch(tuple(x.shape))])


def _shifted(stack: Tensor, batch: Axes) -> Tensor:
    """Less the first sample of each unit, in its place."""
    return stack.sub_(first_sample(stack, batch).clone())
