"""Which other row is nearest to each row: a search over blocks of products, and sums over the pairs that it finds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import after, numbered

if TYPE_CHECKING:
    from .penalty import Array


def nearest(xp: Any, rows: "list[Array]", *, signed: bool, ties: bool) -> "list[list[Array]]":
    """For each row of each panel, the first and, with `ties`, the last of those whose product with it is the largest.

    That is, its square; `signed` counts products above 0 only. Each product is made once, for both of its rows.
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
                found[j] = _nearer(xp, found[j], _largest(xp, square, 0, starts[i], ties))
            found[i] = _nearer(xp, found[i], _largest(xp, square, 1, starts[j], ties))
            done = [found[i][0][:1], found[j][0][:1]]
    return [places for _, *places in found]


def _largest(xp: Any, square: "Array", axis: int, start: int, ties: bool) -> "tuple[Array, ...]":
    """The largest along an axis and the first and last place where it is, by fewer passes than argmax takes."""
    size, largest = square.shape[axis], xp.max(square, axis=axis, keepdims=True)
    is_largest = _ones_where_equal(xp, square, largest)
    place = numbered(xp, xp.ones_like(square[:1, :] if axis else square[:, :1]), axis)
    first = xp.astype(size - xp.max(is_largest * (size + 1 - place), axis=axis), xp.int32) + start
    largest = xp.max(largest, axis=axis)
    if not ties:
        return largest, first
    return largest, first, xp.astype(xp.max(is_largest * place, axis=axis) - 1, xp.int32) + start


def _ones_where_equal(xp: Any, a: "Array", b: "Array") -> "Array":
    """In the dtype of the first."""
    own = getattr(xp, "ones_where_equal", None)  # of PyTorch, where booleans take four times as long
    return xp.astype(a == b, a.dtype) if own is None else own(a, b)


def _nearer(xp: Any, known: Any, new: "tuple[Array, ...]") -> "tuple[Array, ...]":
    """The nearer of two, of which the first known comes first where they are equally near; NaN is never nearer."""
    largest, *places = new
    if known is None:
        known = (-3.0 * xp.ones_like(largest), *[xp.zeros_like(place) for place in places])
    nearer = largest > known[0]
    replaced = (nearer, xp.logical_or(nearer, largest == known[0]))
    found = [xp.where(by, place, old) for by, place, old in zip(replaced, places, known[1:], strict=False)]
    return xp.where(nearer, largest, known[0]), *found


def _wide(xp: Any, products: "Array") -> "Array":
    return xp.astype(products, xp.float32) if products.dtype not in (xp.float32, xp.float64) else products


def both_ways(xp: Any, rows: "Array", places: "list[Array]", shares: "list[Array]") -> "Array":
    """For each row the sum of those at its places, and of those that have it at theirs, times their shares."""
    total: Any = 0.0
    for place, share in zip(places, shares, strict=True):
        total = added_at(xp, total + share * xp.take(rows, place, axis=0), place, share * rows)
    return total


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
    places = numbered(xp, xp.ones_like(total[:, :1]), 0) - 1
    return total + xp.matmul(xp.astype(places == xp.astype(index, total.dtype)[None, :], total.dtype), rows)
