"""The block schedule of penalties on all pairs of rows: value and gradient in one pass, without all pairs in memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .penalty import Array

ROWS = 1024  # of a panel: the products of two, and what is made of them, stay in the caches of a CPU
PANELS = 16  # at most, of more rows if need be: what is compiled has a copy of the code for each pair of panels
LONGEST = 8  # rows that may be so long that nothing can be subtracted from their squares


def panels(x: "Array", axis: int) -> "list[Array]":
    """Slices of `x` along an axis, as equal as can be."""
    before, size = (slice(None),) * axis, x.shape[axis]
    count = min(-(-size // ROWS), PANELS)
    return [x[(*before, slice(size * i // count, size * (i + 1) // count), ...)] for i in range(count)]


def joined(xp: Any, parts: "list[Array]", axis: int) -> "Array":
    """The inverse of `panels`."""
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)


def scaled(parts: "list[Array]", scale: "float | Array") -> "list[Array]":
    """Each part times a number, one after the other, so that there is one copy of one of them at a time."""
    for i in range(len(parts)):
        parts[i] = parts[i] * scale
    return parts


def over_pairs(
    xp: Any, rows: "list[Array]", of_products: "Callable[[Array], tuple[Array, Array]]"
) -> "tuple[Array, list[Array]]":
    """The sum over each pair of rows of a function of their product, and its derivatives by the panels of rows.

    `of_products` gives the sum over a block of products and the derivative by each, which is 0 for a product of 0. Each
    product is made once, and so are the two that its derivative is in: 3 m*m*d operations for m rows of d.
    """
    total: Any = 0.0
    slopes: list[Any] = [0.0] * len(rows)
    done: Any = 0.0
    for i, some in enumerate(rows):
        for j in range(i, len(rows)):
            others = rows[j] + done
            products = xp.matmul(some, xp.matrix_transpose(others))
            value, slope = of_products(xp.triu(products, k=1) if i == j else products)
            total = total + value
            if i == j:
                slopes[i] = slopes[i] + xp.matmul(slope + xp.matrix_transpose(slope), some)
            else:
                slopes[i] = slopes[i] + xp.matmul(slope, others)
                slopes[j] = slopes[j] + xp.matmul(xp.matrix_transpose(slope), some)
            done = 0.0 * (slopes[i][:1, :1] + slopes[j][:1, :1])  # a compiler would make all products first
    return total, slopes


def squares(
    xp: Any, rows: "list[Array]", scale: "float | Array" = 1.0, *, equal: bool = False
) -> "tuple[Array, list[Array]]":
    """The sum of `(scale * row . other)**2` over ordered pairs, by the products of columns; see `over_pairs`.

    For m >= 2 d: the squares of the d*d products of columns add up to those of all m*m products, with those of each
    row with itself, which are few unless some rows are far longer than the rest and nothing but rounding is left of the
    difference. So the longest are kept out of it and multiplied with every other row, unless all are of `equal` length.
    Derivatives are those over 4 `scale`. Panels are taken off the list.
    """
    chosen = [None] * len(rows) if equal else _longest(xp, rows)
    rest = [_without(xp, some, which) for some, which in zip(rows, chosen, strict=True)]
    products = scale * _sum([xp.matmul(xp.matrix_transpose(some), some) for some in rest])
    apart = None if equal else _sum([_rows(xp, some, which) for some, which in zip(rows, chosen, strict=True)])
    total, slopes = xp.sum(products * products), []
    del rest
    for i, which in enumerate(chosen):
        some, rows[i] = rows[i], None
        rest_of = _without(xp, some, which)
        own = scale * xp.sum(rest_of * rest_of, axis=1, keepdims=True)
        total = total - xp.sum(own * own)
        slope = xp.matmul(some, products) - own * rest_of
        if apart is not None:
            value, other = _with_longest(xp, some, apart, which, scale)
            total, slope = total + value, slope + other
        slopes.append(slope)
    return total, slopes


def _with_longest(
    xp: Any, some: "Array", apart: "Array", which: "Array", scale: "float | Array"
) -> "tuple[Array, Array]":
    """Squares of products with the longest rows, once among those and twice with others; and the derivatives."""
    products = scale * xp.matmul(some, xp.matrix_transpose(apart))
    products = xp.where(which, xp.zeros_like(products), products)
    both = products * products
    twice = xp.where(xp.any(which, axis=1, keepdims=True), both, 2.0 * both)
    return xp.sum(twice), xp.matmul(products, apart)


def _longest(xp: Any, rows: "list[Array]") -> "list[Array]":
    """For each panel, which of its rows is the longest of all, the next and so on, along the second axis."""
    length = joined(xp, [xp.sum(some * some, axis=1) for some in rows], 0)
    place = xp.argsort(xp.argsort(length, descending=True))[:, None]
    return panels(xp.concat([place == k for k in range(LONGEST)], axis=1), 0)


def _without(xp: Any, some: "Array", which: "Array") -> "Array":
    """0 in place of the longest rows; by a product, which takes a tenth of the time of `where`."""
    if which is None:
        return some
    return some * xp.astype(xp.logical_not(xp.any(which, axis=1, keepdims=True)), some.dtype)


def _rows(xp: Any, some: "Array", which: "Array") -> "Array":
    """The longest rows, as far as they are in this panel, and 0 for the others."""
    return xp.matmul(xp.matrix_transpose(xp.astype(which, some.dtype)), some)


def _sum(arrays: "list[Array]") -> "Array":
    first, *others = arrays
    return sum(others, start=first)
