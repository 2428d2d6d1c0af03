"""The block schedule of penalties on all pairs of rows: value and gradient in one pass, without all pairs in memory."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .precision import cast

if TYPE_CHECKING:
    from .penalty import Array

ROWS = 1024  # of a panel: the products of two, and what is made of them, stay in the caches of a CPU
PANELS = 16  # at most, of more rows if need be: what is compiled has a copy of the code for each pair of panels
LONGEST = 8  # rows that may be so long that nothing can be subtracted from their squares


def panels(x: "Array", axis: int, most: int = 0) -> "list[Array]":
    """Slices of `x` along an axis, as equal as can be, each of `most`, or `ROWS`, or fewer."""
    before, size = (slice(None),) * axis, x.shape[axis]
    count = min(-(-size // (most or ROWS)), PANELS)
    return [x[(*before, slice(size * i // count, size * (i + 1) // count), ...)] for i in range(count)]


def joined(xp: Any, parts: "list[Array]", axis: int) -> "Array":
    """The inverse of `panels`."""
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)


def scaled(parts: "list[Array]", scale: "float | Array", fault: "Array | None" = None) -> "list[Array]":
    """Each part times a number, one after the other, so that there is one copy of one of them at a time.

    `fault` is 0 or NaN, and added: TensorFlow would make `(scale + value) - value` of `scale + (value - value)`.
    """
    for i in range(len(parts)):
        parts[i] = parts[i] * scale if fault is None else parts[i] * scale + fault
    return parts


def after(xp: Any, rows: "Array", done: "list[Array]") -> "Array":
    """`rows`, made to wait for arrays of the block before: XLA would make all products first, and keep them.

    Adding nothing is what every library takes for a dependence; where none compiles it costs next to nothing.
    """
    return rows if not done else rows + xp.astype(0.0 * sum([xp.sum(one) for one in done], start=0.0), rows.dtype)


def over_pairs(
    xp: Any,
    rows: "list[Array]",
    of_products: "Callable[[Array], tuple[Array, Array]]",
    *,
    sloped: bool = True,
    half: Any = None,
) -> "tuple[Array, list[Array]]":
    """The sum over each pair of rows of a function of their product, and its derivatives by the panels of rows.

    `of_products` gives the sum over a block of products and the derivative by each, which is 0 for a product of 0. Each
    product is made once, and so are the two that its derivative is in: 3 m*m*d operations for m rows of d. Where it is
    not to be `sloped` there are no derivatives, and a third of the operations.

    Products are made in the dtype `half`, if there is one, of rows as `_halves` of it. Then the derivative by a product
    must be 0, 1 or -1, so that it is exact, and what it multiplies is rounded.
    """
    dtype, d = rows[0].dtype, rows[0].shape[1]
    total: Any = 0.0
    slopes: list[Any] = [0.0] * len(rows)
    done: list[Any] = []
    factors = rows if half is None else [_halves(xp, some, half)[1] for some in rows]
    for i, some in enumerate(rows):
        left = some if half is None else _halves(xp, some, half)[0]
        for j in range(i, len(rows)):
            others = after(xp, factors[j], done)
            products = cast(xp, xp.matmul(left, xp.matrix_transpose(others)), dtype)
            value, slope = of_products(xp.triu(products, k=1) if i == j else products)
            total, slope = total + value, cast(xp, slope, others.dtype)
            if i == j and sloped:
                both = slope + xp.matrix_transpose(slope)
                slopes[i] = slopes[i] + cast(xp, xp.matmul(both, factors[i][:, :d]), dtype)
            elif sloped:
                slopes[i] = slopes[i] + cast(xp, xp.matmul(slope, others[:, :d]), dtype)
                slopes[j] = slopes[j] + cast(xp, xp.matmul(xp.matrix_transpose(slope), factors[i][:, :d]), dtype)
            done = [slopes[i][:1, :1], slopes[j][:1, :1]] if sloped else [total]
    return total, slopes if sloped else []


def _halves(xp: Any, rows: "Array", half: Any) -> "tuple[Array, Array]":
    """Two matrices of which the product of the rows is that of the rows given, to about twice the digits of `half`.

    Each number is nearly the sum of two; the product of the two smaller ones is left out. The second begins with the
    rows, rounded.
    """
    high = xp.astype(rows, half)
    low = xp.astype(rows - xp.astype(high, rows.dtype), half)
    return xp.concat([high, high, low], axis=1), xp.concat([high, low, high], axis=1)


def squares(
    xp: Any,
    rows: "list[Array]",
    scale: "float | Array" = 1.0,
    factor: "float | Array" = 1.0,
    *,
    equal: bool = False,
    columns: bool = False,
    sloped: bool = True,
) -> "tuple[Array, list[Array]]":
    """The sum of `(scale * row . other)**2` over ordered pairs, by the products of columns; see `over_pairs`.

    For m >= 2 d: the squares of the d*d products of columns add up to those of all m*m products, with those of each
    row with itself, which are few unless some rows are far longer than the rest and nothing but rounding is left of the
    difference. So the longest are kept out of it and multiplied with every other row, unless all are of `equal` length.
    Derivatives are those over 4 `scale`, times `factor`. Panels are taken off the list. Rows that are `columns` of an
    array have derivatives that lie in memory as they do. Where it is not to be `sloped` there are none.
    """
    lengths = [xp.sum(some * some, axis=1, keepdims=True) for some in rows]
    longest = [None] * len(rows) if equal else _longest(xp, lengths)
    products, apart = 0.0, 0.0
    for some, which in zip(rows, longest, strict=True):
        rest = some if which is None else some * _kept(xp, some, which)
        products = products + xp.matmul(xp.matrix_transpose(some), rest)
        if which is not None:
            apart = apart + xp.matmul(xp.matrix_transpose(xp.astype(which, some.dtype)), some)
    products = products * scale
    total, slopes = xp.sum(products * products), []
    for i, which in enumerate(longest):
        some, rows[i] = rows[i], None
        own = scale * lengths[i] if which is None else scale * lengths[i] * _kept(xp, some, which)
        total = total - xp.sum(own * own)
        if which is not None:
            value, other = _with_longest(xp, scale * xp.matmul(some, xp.matrix_transpose(apart)), which)
            total = total + value
        if sloped:
            slope = _plus_product(xp, some * (own * -factor), some, products * factor, columns)
            slopes.append(slope if which is None else _plus_product(xp, slope, other, apart * factor, columns))
    return total, slopes


def _plus_product(xp: Any, total: "Array", a: "Array", b: "Array", transposed: bool) -> "Array":
    """`total + a @ b`, for which `total` may be written over; `transposed` ones are made of transposed matrices."""
    if transposed:
        total, a, b = xp.matrix_transpose(total), xp.matrix_transpose(b), xp.matrix_transpose(a)
    own = getattr(xp, "plus_product", None)  # of PyTorch
    total = total + xp.matmul(a, b) if own is None else own(total, a, b)
    return xp.matrix_transpose(total) if transposed else total


def _longest(xp: Any, lengths: "list[Array]") -> "list[Array]":
    """For each panel, which of its rows is the longest of all, the next and so on, along the second axis."""
    rest, which = joined(xp, lengths, 0), []
    place = numbered(xp, xp.ones_like(rest), 0)
    for _ in range(LONGEST):  # which takes less time than to sort them
        is_longest = place == xp.astype(xp.argmax(rest) + 1, rest.dtype)
        which.append(xp.logical_and(is_longest, rest >= 0))
        rest = xp.where(is_longest, -xp.ones_like(rest), rest)
    return panels(xp.concat(which, axis=1), 0)


def numbered(xp: Any, ones: "Array", axis: int) -> "Array":
    """1, 2, ... along an axis; PyTorch's own, as torch.compile warns of what array-api-compat wraps around it."""
    return xp.cumsum(ones, axis) if getattr(xp, "cumsum", None) else xp.cumulative_sum(ones, axis=axis)


def _kept(xp: Any, some: "Array", longest: "Array") -> "Array":
    """1, and 0 for the longest rows; to multiply by, in a tenth of the time that `where` takes."""
    return xp.astype(xp.logical_not(xp.any(longest, axis=1, keepdims=True)), some.dtype)


def _with_longest(xp: Any, products: "Array", longest: "Array") -> "tuple[Array, Array]":
    """Squares of products with the longest rows, once among those and twice with others; and the products."""
    products = xp.where(longest, xp.zeros_like(products), products)
    return xp.sum(products * products * (1.0 + _kept(xp, products, longest))), products
