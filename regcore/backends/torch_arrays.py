"""PyTorch's namespace, with sums in an order that the number of threads has no part in, and how slices are written."""

import functools
import operator
from typing import Any

import array_api_compat.torch as compat
import torch
from array_api_compat.torch import *  # noqa: F403
from torch import multiply as multiply  # compat's, and its subtract, look at dtypes first
from torch import subtract as subtract
from torch.autograd import forward_ad

from ..pieces import Difference

del classes  # type: ignore  # noqa: F821 - of PyTorch, which takes what it is asked for as the name of a class
ROW = 4096  # entries that one thread adds up
SHORT = 256  # entries whose squares are added up in float32 one after the other
FEW = 3  # arrays at most that torch.compile does not concatenate
FEWEST = 2**15  # entries of which PyTorch gives each thread a part, and adds up what comes of them


def sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    if axis is None and dtype is None and not keepdims and x.is_floating_point():
        return _by_rows(x) if _is_shared(x) else x.sum()
    return compat.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


def _is_shared(x: Any) -> Any:
    return x.numel() >= FEWEST and x.device.type == "cpu" and not torch.compiler.is_compiling()


def _by_rows(x: Any) -> Any:
    """Rows first, which threads do not divide; it is more accurate, too."""
    flat = x.reshape(-1)
    rest = flat.shape[0] % ROW
    if not rest:
        return sum(flat.view(-1, ROW).sum(1))
    rows = flat.shape[0] - rest
    return sum(flat[:rows].view(-1, ROW).sum(1)) + flat[rows:].sum()


def sum_of_squares(x: Any) -> Any:
    """The norm of a row takes one pass and no memory. That of all of them adds up too many numbers in a row."""
    flat = x.reshape(-1)
    rest = flat.shape[0] % SHORT
    if rest:
        flat, last = flat[:-rest], flat[-rest:]
    total = sum(torch.linalg.vector_norm(flat.view(-1, SHORT), dim=1).square_())
    return total + (last * last).sum() if rest else total


def ones_where_equal(a: Any, b: Any) -> Any:
    """Written as numbers of the dtype of `a` at once, where that can be."""
    return torch.eq(a, b, out=torch.empty_like(a)) if _can_write(a, b) else (a == b).to(a.dtype)


def plus_product(total: Any, a: Any, b: Any) -> Any:
    """`total + a @ b`, written over `total` where that can be."""
    return torch.addmm(total, a, b, out=total) if _can_write(total, a, b) else total + a @ b


def _can_write(*arrays: Any) -> bool:
    """Whether nothing is compiled, transformed or differentiated."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return not torch.is_grad_enabled() or not [array for array in arrays if array.requires_grad]


def concat(arrays: Any, /, *, axis: Any = 0) -> Any:
    """A few arrays are a sum of padded ones to torch.compile, which computes those where they are read.

    It writes what is concatenated to memory, and what it is made of before.
    """
    few = len(arrays) <= FEW and axis is not None and arrays[0].is_floating_point()
    if not few or not torch.compiler.is_compiling():
        return compat.concat(arrays, axis=axis)
    ndim, sizes = arrays[0].ndim, [array.shape[axis] for array in arrays]
    behind, total = [0, 0] * (ndim - 1 - axis % ndim), functools.reduce(operator.add, sizes)
    parts, start = [], 0
    for array, size in zip(arrays, sizes, strict=True):
        parts.append(torch.constant_pad_nd(array, [*behind, start, total - start - size]))
        start = start + size
    return functools.reduce(operator.add, parts)


class Writer:
    """How slices of a gradient are written; see `regcore.pieces`."""

    @staticmethod
    def empty(shape: Any, x: Any) -> Any:
        return torch.empty(shape, dtype=x.dtype, device=x.device)

    @staticmethod
    def put(out: Any, factor: Any, array: Any) -> None:
        if isinstance(array, Difference):
            torch.sub(*array, out=out).mul_(factor)
        else:
            torch.mul(array, factor, out=out)

    @staticmethod
    def add(out: Any, factor: Any, array: Any) -> None:
        if isinstance(array, Difference):
            array = torch.sub(*array)
        out.addcmul_(array, factor) if isinstance(factor, type(out)) else out.add_(array, alpha=factor)

    @staticmethod
    def line(piece: Any, slope: Any, offset: Any) -> None:
        torch.addcmul(offset, piece, slope, out=piece)
