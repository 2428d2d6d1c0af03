"""What a mean is taken over: which entries a mask lets through, and how many there are, known or not until run time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .penalty import Array

ROW = 1024  # entries that are squared and added up one after the other


def positive_axis(field: str, axis: int, ndim: int) -> int:
    """`axis` counted from the front; ValueError if an array of `ndim` axes has no such axis."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"{field}={axis} does not exist in an array with {ndim} axes; name an axis that it has")
    return axis % ndim


def expand(mask: "Array", ndim: int) -> "Array":
    """A mask over leading axes, with axes of length one for the rest."""
    return mask[(..., *(None,) * (ndim - len(mask.shape)))]


def kept(xp: Any, x: "Array", mask: "Array") -> "Array":
    """`x` with 0 where a mask over leading axes hides it, whatever is there."""
    return x if mask is None else xp.where(expand(mask, len(x.shape)), x, xp.zeros_like(x))


def count(xp: Any, x: "Array", axes: Sequence[int], mask: "Array" = None) -> "int | Array":
    """Entries along `axes`, of which a mask covers the first few: an int where it is known, else a 0-d array."""
    if mask is not None:
        covered = xp.astype(xp.sum(xp.astype(mask, xp.int32)), x.dtype)
        return covered * count(xp, x, axes[len(mask.shape) :])
    known, unknown = 1, []
    for axis in axes:
        if x.shape[axis] is None:
            unknown.append(axis)
        else:
            known = known * x.shape[axis]
    if not unknown:
        return known
    block = x[tuple(slice(None) if axis in unknown else slice(0, 1) for axis in range(len(x.shape)))]
    return known * xp.astype(xp.sum(xp.astype(xp.ones_like(block), xp.int32)), x.dtype)


def sum_of_squares(xp: Any, x: "Array") -> "Array":
    """Of what is not compiled: by rows, whose order of adding threads have no part in, without an array of squares."""
    if (own := getattr(xp, "sum_of_squares", None)) is not None:  # of PyTorch, whose vecdot makes one
        return own(x)
    flat = xp.reshape(x, (-1,))
    rows = xp.reshape(flat[: flat.shape[0] // ROW * ROW], (-1, ROW))
    rest = flat[rows.shape[0] * ROW :]
    return xp.sum(xp.vecdot(rows, rows)) + xp.vecdot(rest, rest)


def reciprocal(xp: Any, n: "int | Array") -> "float | Array":
    """1/n, and 0 for n = 0: the mean over nothing is nothing."""
    if isinstance(n, int):
        return 1.0 / n if n else 0.0
    return xp.where(n == 0, xp.zeros_like(n), 1.0 / xp.where(n == 0, xp.ones_like(n), n))
