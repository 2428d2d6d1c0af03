"""PyTorch's namespace, with sums in an order that the number of threads has no part in, and how slices are written."""

from typing import Any

import array_api_compat.torch as compat
from array_api_compat.torch import *  # noqa: F403

del classes  # type: ignore  # noqa: F821 - of PyTorch, which takes what it is asked for as the name of a class
ROW = 4096  # entries that one thread adds up
FEWEST = 2**15  # entries of which PyTorch gives each thread a part, and adds up what comes of them


def sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    if axis is None and dtype is None and not keepdims and x.device.type == "cpu" and _is_shared(x):
        return _by_rows(x)
    return compat.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


def _is_shared(x: Any) -> Any:
    return x.numel() >= FEWEST and not compat.compiler.is_compiling()  # type: ignore[attr-defined]


def _by_rows(x: Any) -> Any:
    """Rows first, which threads do not divide; it is more accurate, too."""
    flat = x.reshape(-1)
    rows = flat.shape[0] // ROW
    total = sum(flat[: rows * ROW].reshape(rows, ROW).sum(1))
    return total + flat[rows * ROW :].sum() if flat.shape[0] % ROW else total


class Writer:
    """How slices of a gradient are written; see `regcore.pieces`."""

    @staticmethod
    def empty(shape: Any, x: Any) -> Any:
        return compat.empty(shape, dtype=x.dtype, device=x.device)

    @staticmethod
    def write(piece: Any, factors: Any, arrays: Any) -> None:
        compat.multiply(arrays[0], factors[0], out=piece)
        for factor, array in zip(factors[1:], arrays[1:], strict=True):
            piece.addcmul_(array, factor) if isinstance(factor, type(piece)) else piece.add_(array, alpha=factor)

    @staticmethod
    def line(piece: Any, slope: Any, offset: Any) -> None:
        compat.addcmul(offset, piece, slope, out=piece)  # type: ignore[attr-defined]
