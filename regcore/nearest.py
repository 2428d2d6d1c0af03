"""Which other row is nearest to each row: a search over blocks of products, and sums over the pairs that it finds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import after

if TYPE_CHECKING:
    from .penalty import Array


def nearest(xp: Any, rows: "list[Array]", signed: bool) -> "list[tuple[Array, Array]]":
    """For each row of each panel, the first and the last of those whose product with it has the largest square.

    `signed` counts products above 0 only. Each product is made once, for both of its rows.
    """
    found: list[Any] = [None] * len(rows)
    starts = [sum([some.shape[0] for some in rows[:i]]) for i in range(len(rows))]
    done: list[Any] = []
    for i, some in enumerate(rows):
        for j in range(i, len(rows)):
            products = _wide(xp, xp.matmul(some, xp.matrix_transpose(after(xp, rows[j], done))))
            counted = products * xp.astype(products > 0, products.dtype) if signed else products
            square = counted * counted
            if i == j:
                one = xp.ones_like(square)
                square = square - 2.0 * (xp.triu(one, k=0) - xp.triu(one, k=1))  # no row is near to itself
            else:
                found[j] = _nearer(xp, found[j], _largest(xp, square, 0, starts[i]))
            found[i] = _nearer(xp, found[i], _largest(xp, square, 1, starts[j]))
            done = [found[i][0][:1], found[j][0][:1]]
    return [(first, last) for _, first, last in found]


def _largest(xp: Any, square: "Array", axis: int, start: int) -> "tuple[Array, Array, Array]":
    """The largest along an axis and the first and last place where it is, by fewer passes than argmax takes."""
    size, largest = square.shape[axis], xp.max(square, axis=axis, keepdims=True)
    is_largest = xp.astype(square == largest, square.dtype)
    place = xp.cumulative_sum(xp.ones_like(square[:1, :] if axis else square[:, :1]), axis=axis)  # from 1
    first = size - xp.max(is_largest * (size + 1 - place), axis=axis)
    last = xp.max(is_largest * place, axis=axis) - 1
    largest = xp.max(largest, axis=axis)
    return largest, xp.astype(first, xp.int32) + start, xp.astype(last, xp.int32) + start


def _nearer(xp: Any, known: Any, new: "tuple[Array, Array, Array]") -> "tuple[Array, Array, Array]":
    """The nearer of two, of which the first known comes first where they are equally near; NaN is never nearer."""
    largest, first, last = new
    if known is None:
        none = xp.zeros_like(first)
        known = (-3.0 * xp.ones_like(largest), none, none)
    nearer = largest > known[0]
    return (
        xp.where(nearer, largest, known[0]),
        xp.where(nearer, first, known[1]),
        xp.where(xp.logical_or(nearer, largest == known[0]), last, known[2]),
    )


def _wide(xp: Any, products: "Array") -> "Array":
    return xp.astype(products, xp.float32) if products.dtype not in (xp.float32, xp.float64) else products


def added_at(xp: Any, total: "Array", index: "Array", rows: "Array") -> "Array":
    """`total` with each of `rows` added to the row at its index, for which the array API has no function."""
    if isinstance(total, np.ndarray):
        result = total.copy()
        np.add.at(result, index, rows)
        return result
    if (function := getattr(xp, "index_add", None)) is not None:  # of PyTorch, and of our TensorFlow namespace
        return function(total, 0, index, rows)
    if (at := getattr(total, "at", None)) is not None:  # of JAX
        return at[index].add(rows)
    places = xp.cumulative_sum(xp.ones_like(total[:, :1]), axis=0) - 1
    return total + xp.matmul(xp.astype(places == xp.astype(index, total.dtype)[None, :], total.dtype), rows)
