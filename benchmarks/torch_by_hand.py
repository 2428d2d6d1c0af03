"""PyTorch by hand: the arithmetic of a row by as few kernels as we know, for one case each and with no checks.

A target that this misses, too, is out of reach of separate kernels on the machine. Some of it no library may do: sums
depend on the number of threads, variances cancel, and a second derivative would be wrong.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from .torch_pairs_by_hand import PIECE, squared
from .torch_pairs_by_hand import covariance as covariance
from .torch_pairs_by_hand import mean_square as mean_square
from .torch_pairs_by_hand import self_model as self_model

LINE = math.pi * math.e  # of the entropy of a normal distribution


def ar(x: Tensor) -> Tensor:
    return _Apart.apply(x, 1.0, 0.0)


def tar(x: Tensor) -> Tensor:
    return _Apart.apply(x, 0.0, 1.0)


def ar_tar(x: Tensor) -> Tensor:
    return _Apart.apply(x, 2.0, 1.0)


def _steps(x: Tensor) -> Iterator[tuple[int, int, int]]:
    """Sequences, and in each of them slices of time that stay in the cache."""
    length = max(1, PIECE // x.shape[2])
    for i, start in itertools.product(range(len(x)), range(0, x.shape[1], length)):
        yield i, start, min(start + length, x.shape[1])


class _Apart(Function):
    """a * mean(x**2) + b * mean(difference**2), piece by piece."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: float, b: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.a, ctx.b = a / x.numel(), b * x.shape[1] / (x.numel() * (x.shape[1] - 1))
        value = squared(x) * ctx.a if a else torch.zeros(())
        if not b:
            return value
        totals = []
        for i, start, stop in _steps(x):
            step = torch.diff(x[i, start : stop + 1], dim=0).view(-1)
            totals.append(torch.dot(step, step))
        return value + torch.stack(totals).sum() * ctx.b

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        a, b = 2.0 * ctx.a * float(upstream), 2.0 * ctx.b * float(upstream)
        if not b:
            return x * a, None, None
        gradient = torch.empty_like(x)
        for i, start, stop in _steps(x):
            out, low, high = gradient[i], max(start, 1), min(stop, x.shape[1] - 1)
            step = torch.diff(x[i, low - 1 : high + 1], dim=0).mul_(b)
            torch.sub(step[:-1], step[1:], out=out[low:high])
            if start == 0:
                torch.neg(step[0], out=out[0])
            if stop > high:
                out[high] = step[-1]
            if a:
                out[start:stop].add_(x[i, start:stop], alpha=a)
        return gradient, None, None


def entropy(x: Tensor, alpha: Tensor) -> Tensor:
    return _Entropy.apply(x, alpha)


class _Entropy(Function):
    """Half of (mean of log(pi e variance + 1) / 2 - max(0.2, abs(alpha)))**2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:
        n, d = x.shape
        first, total, squares = x[:1].clone(), torch.zeros(1, d), torch.zeros(1, d)
        for some in x.split(max(1, PIECE // d)):
            shifted = some - first
            total += shifted.sum(0, keepdim=True)
            squares += shifted.mul_(shifted).sum(0, keepdim=True)
        inside = LINE / (n - 1) * (squares - total * total / n) + 1.0
        off = 0.5 * inside.log().mean() - alpha.abs().clamp(min=0.2)
        ctx.by_alpha = -off * alpha.sign() * (alpha.abs() > 0.2)
        ctx.save_for_backward(x, first + total / n, off * LINE / (d * (n - 1)) / inside)
        return 0.5 * off * off

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        x, mean, slope = ctx.saved_tensors
        gradient, slope = torch.empty_like(x), slope * upstream
        for some, out in zip(x.split(PIECE // x.shape[1]), gradient.split(PIECE // x.shape[1]), strict=True):
            torch.sub(some, mean, out=out).mul_(slope)
        return gradient, ctx.by_alpha * upstream


def entropies(outputs: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
    return _Entropies.apply(torch.stack(list(alphas)), *outputs)


class _Entropies(Function):
    """The mean over layers of (mean of log(pi e variance + 1) / 2 - alpha)**2 / 2, as one node."""

    @staticmethod
    def forward(ctx: Any, alphas: Tensor, *xs: Tensor) -> Tensor:
        n, d = xs[0].shape
        found = []
        for i in range(0, len(xs), _at_once(xs)):
            stack = torch.stack(xs[i : i + _at_once(xs)])
            stack.sub_(stack[:, :1].clone())
            mean = stack.sum(1, keepdim=True) / n
            stack.sub_(mean).mul_(stack)
            found.append((mean, stack.sum(1, keepdim=True)))
        mean, squares = (torch.cat(parts) for parts in zip(*found, strict=True))
        inside = LINE / (n - 1) * squares + 1.0
        off = 0.5 * inside.log().mean((1, 2)) - alphas
        ctx.save_for_backward(off, mean, off[:, None, None] * (LINE / (d * (n - 1))) / inside, *xs)
        return 0.5 * (off * off).mean()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        off, mean, slope, *xs = ctx.saved_tensors
        gradients: list[Tensor] = []
        slope = slope * (upstream / len(xs))
        for i in range(0, len(xs), _at_once(xs)):
            some = slice(i, i + _at_once(xs))
            stack = torch.stack(xs[some])
            gradients += stack.sub_(stack[:, :1].clone()).sub_(mean[some]).mul_(slope[some]).unbind()
        return -off * (upstream / len(xs)), *gradients


def _at_once(xs: Sequence[Tensor]) -> int:
    """How many fit into the cache."""
    return max(1, PIECE // xs[0].numel())


def written(x: Tensor) -> Tensor:
    return _Written.apply(x)


class _Written(Function):
    """The mean square of a small array."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x * x).mean()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x * (upstream * (2.0 / x.numel()))


def written_tar(x: Tensor) -> Tensor:
    return _WrittenTar.apply(x)


class _WrittenTar(Function):
    """The mean squared difference of a small array."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        step = x[:, 1:] - x[:, :-1]
        return (step * step).mean()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        step = torch.diff(x, dim=1) * (upstream * (2.0 / (x[:, 1:].numel())))
        gradient = functional.pad(step, (0, 0, 1, 0))
        gradient[:, :-1] -= step
        return gradient


def many(xs: Sequence[Tensor]) -> Tensor:
    return _Many.apply(*xs)


class _Many(Function):
    """The sum of the mean squares of equal arrays, as one node."""

    @staticmethod
    def forward(ctx: Any, *xs: Tensor) -> Tensor:
        ctx.save_for_backward(*xs)
        return squared(torch.stack(xs)) / xs[0].numel()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        xs = ctx.saved_tensors
        return torch.stack(xs).mul_(upstream * (2.0 / xs[0].numel())).unbind()
