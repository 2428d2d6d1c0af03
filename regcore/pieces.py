"""Large arrays in pieces that stay in the cache: how a penalty comes apart, and the order in which it is computed."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import precision
from .cuts import Index, contiguous, memory_order, slices, wider

if TYPE_CHECKING:
    from .penalty import Array, Gradient, Params, Penalty, Term

CACHED = 2**17  # entries of which intermediate results stay in the cache of a processor
FEWEST = 32  # times as far as a penalty reaches: entries of a slice along that axis, of which a few are read twice
ELSEWHERE = 2**26  # entries that are worth the launch of a kernel on any other device

Entries = Any  # an array, or what fills it; of both a part may be a `Difference`
Outer = tuple[Any, Any, dict[str, Any]]  # a value, what `by_entries` is multiplied by, derivatives by parameters


class Difference(NamedTuple):
    """Two arrays, of which the second is to be subtracted where the result is written."""

    minuend: "Array"
    subtrahend: "Array"


class Parts(NamedTuple):
    """A penalty as a function of a sum over slices of `x`: `value = outer(sum of total(slice))`.

    `total(xp, x, mask)` is what a slice adds to the sum, 0-d, and `by_entries(xp, x, mask)` the derivative of that, up
    to a constant: an array, or what fills it, as [(index, array), ...]. `outer(xp, total, x, params, mask)` is of the
    whole: the value, what `by_entries` is multiplied by, and the derivatives by learned parameters. It may look at the
    shape and the dtype of `x` only. Where it is `linear`, the second of them is the same for every sum.

    A penalty that `reaches` some entries along an axis, as differences do, gets slices that have up to so many more
    behind, and before them for the derivative; and after the mask where the slice's own lie: what begins there adds to
    the sum, and by these the derivative is taken.
    """

    axes: tuple[int, ...]  # along which x may be cut
    total: Callable[..., "Array"]
    by_entries: Callable[..., Entries]
    outer: Callable[..., Outer]
    both: "Callable[..., tuple[Array, Entries]] | None" = None  # total and by_entries, if they have much in common
    linear: bool = True
    reaches: tuple[int, int] | None = None  # an axis, and how many entries
    spare: bool = False  # whether neither makes an array of the size of what it is given: then it may be all of x


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A penalty of a large array, of which a slice is taken once for all terms; what it gives is as in `precision`.

    `library` can write to arrays of `xp`: `empty(shape, x)` allocates one of the dtype of `x`, and with a factor, 0-d,
    and an array of the same dtype, or their difference, `put(out, factor, array)` writes the product to a slice, and
    `add` adds it.
    """

    xp: Any
    library: Any
    spec: "Penalty"
    x: "Array"
    params: "Params"
    mask: "Array"
    terms: "list[tuple[Term, Parts]]"
    order: tuple[int, ...]  # axes from the outermost in memory to the innermost
    slices: list[Index]

    def value(self) -> "Array":
        totals, _ = self._visit(None, summing=True)
        return self._value(self._outer(totals))

    def grad(self, upstream: "float | Array") -> "Gradient":
        return self._both(upstream, valued=False)[1]

    def value_and_grad(self, upstream: "float | Array") -> "tuple[Array, Gradient]":
        outer, gradient = self._both(upstream, valued=True)
        return self._value(outer), gradient

    def _both(self, upstream: "float | Array", *, valued: bool) -> "tuple[list[Outer], Gradient]":
        """In one pass if factors do not depend on the sums, or there is but one, which can be multiplied by later."""
        if all(parts.linear for _, parts in self.terms):
            outer = self._outer([0.0] * len(self.terms))
            totals, gradient = self._visit(self._factors(outer, upstream), summing=valued)
            outer = self._outer(totals) if valued else outer
        elif len(self.terms) == 1 and precision.wide_dtype(self.xp, self.spec, self.x) == self.x.dtype:
            totals, gradient = self._visit([1.0], summing=True)
            outer = self._outer(totals)
            self.library.put(gradient, *self._factors(outer, upstream), gradient)
        else:
            outer = self._outer(self._visit(None, summing=True)[0])
            _, gradient = self._visit(self._factors(outer, upstream), summing=False)
        return outer, (gradient, self._by_params(outer, upstream))

    def _visit(self, factors: "list[float | Array] | None", *, summing: bool) -> "tuple[list[Array], Array]":
        """What `total` of each term adds up to; the gradient by x where terms have these factors; or one of the two."""
        xp, dtype = self.xp, precision.wide_dtype(self.xp, self.spec, self.x)
        sums: list[list[Array]] = [[] for _ in self.terms]
        gradient = None if factors is None else self._empty()
        for index in self.slices:
            by_term = []
            for (_, parts), totals in zip(self.terms, sums, strict=True):
                wide, own = self._reached(index, parts, back=factors is not None)
                mask = None if self.mask is None else self.mask[wide[: len(self.mask.shape)]]
                piece = precision.cast(xp, self.x[wide], dtype)
                total, by_entries = _of_piece(xp, parts, (piece, mask, *own), summing, factors is not None)
                totals.append(total)
                by_term.append(by_entries)
            if factors is not None:
                self._write(gradient, index, factors, by_term)
        return [_pairwise(totals) for totals in sums] if summing else [], gradient

    def _reached(self, index: Index, parts: Parts, *, back: bool) -> tuple[Index, tuple[slice, ...]]:
        """What a penalty is given for a slice, and where the slice's own lie, if it is given more."""
        if parts.reaches is None:
            return index, ()
        axis, reach = parts.reaches
        wide, own = wider(index, axis, reach if back else 0, reach)
        return wide, (own,)

    def _write(self, gradient: "Array", index: Index, factors: "list[float | Array]", by_term: "list[Entries]") -> None:
        each = [entries if isinstance(entries, list) else [(..., entries)] for entries in by_term]
        piece, first = gradient[index], each[0][0][1]
        some = first.minuend if isinstance(first, Difference) else first
        out = piece if some.dtype == self.x.dtype else self.library.empty(tuple(piece.shape), some)
        write = self.library.put
        for factor, entries in zip(factors, each, strict=True):
            for where, array in entries:
                write(out if where is ... else out[where], factor, array)
            write = self.library.add
        if out is not piece:
            gradient[index] = precision.round_once(self.xp, out, self.x.dtype)

    def _outer(self, totals: "list[Array]") -> "list[Outer]":
        """For each term the value of the whole and its derivatives by the sum and by parameters."""
        xp, first = self.xp, self.x[(slice(0, 1),) * len(self.x.shape)]
        first, params = precision.wide(xp, self.spec, first, self.params)
        whole = xp.broadcast_to(first, self.x.shape)  # which takes no memory
        return [
            parts.outer(xp, total, whole, term.select(params), self.mask)
            for total, (term, parts) in zip(totals, self.terms, strict=True)
        ]

    def _value(self, outer: "list[Outer]") -> "Array":
        values = [term.weight * value for (term, _), (value, _, _) in zip(self.terms, outer, strict=True)]
        return precision.rounded(self.xp, self.x, _pairwise(values))

    def _factors(self, outer: "list[Outer]", upstream: "float | Array") -> "list[float | Array]":
        return [weight * by_total for weight, (_, by_total, _) in zip(self._weights(upstream), outer, strict=True)]

    def _by_params(self, outer: "list[Outer]", upstream: "float | Array") -> "dict[str, Array]":
        return {
            term.prefix + name: precision.round_once(self.xp, weight * d, self.params[term.prefix + name].dtype)
            for (term, _), weight, (_, _, by_params) in zip(self.terms, self._weights(upstream), outer, strict=True)
            for name, d in by_params.items()
        }

    def _weights(self, upstream: "float | Array") -> "list[float | Array]":
        if not isinstance(upstream, float):
            upstream = precision.cast(self.xp, upstream, precision.wide_dtype(self.xp, self.spec, self.x))
        return [term.weight * upstream for term, _ in self.terms]

    def _empty(self) -> "Array":
        """For the gradient, with axes in memory as those of x."""
        shape, order = self.x.shape, self.order
        empty = self.library.empty(tuple(shape[axis] for axis in order), self.x)
        return self.xp.permute_dims(empty, tuple(order.index(axis) for axis in range(len(order))))


def pieces(
    xp: Any,
    library: Any,
    spec: "Penalty",
    x: "Array",
    params: "Params",
    mask: "Array",
    across: Any,
    strides: Sequence[int],
    largest: int,
) -> Pieces | None:
    """`spec` in pieces of at most `largest` entries, or None if it does not come apart."""
    terms, shape = spec.terms(), tuple(x.shape)
    if spec.plain or len({term.coupled for term in terms}) > 1:
        return None
    apart = [term.penalty.apart(shape, across) if _is_own(type(term.penalty)) else None for term in terms]
    if None in apart:
        return None
    order = memory_order(strides)
    both = [(term, parts) for term, parts in zip(terms, apart, strict=True) if parts]
    axes = [axis for axis in order if all(axis in parts.axes for _, parts in both)]
    fewest = {axis: FEWEST * reach for axis, reach in sorted([parts.reaches for _, parts in both if parts.reaches])}
    as_it_is = mask is None and precision.wide_dtype(xp, spec, x) == x.dtype and contiguous(shape, strides)
    whole = as_it_is and all(parts.spare for _, parts in both)
    found: list[Index] = [()] if whole else slices(shape, axes, largest, fewest)
    return Pieces(xp, library, spec, x, params, mask, both, order, found) if whole or len(found) > 1 else None


def _of_piece(
    xp: Any, parts: Parts, piece: "tuple[Any, ...]", summing: bool, differentiating: bool
) -> "tuple[Array, Entries]":
    """What it adds to the sum, and the derivative; None for what is not asked for."""
    if summing and differentiating and parts.both is not None:
        return parts.both(xp, *piece)
    total = parts.total(xp, *piece) if summing else None
    return total, parts.by_entries(xp, *piece) if differentiating else None


def _is_own(kind: type) -> bool:
    """Whether `apart` is of the formulas in force, and no subclass has put others in their place."""
    first = {name: [name in vars(parent) for parent in kind.__mro__].index(True) for name in ("apart", "value", "grad")}
    return first["apart"] <= min(first.values())


def _pairwise(arrays: "list[Array]") -> "Array":
    """Their sum, in an order that has few roundings between each of them and the result."""
    while len(arrays) > 1:
        odd = arrays[-1:] if len(arrays) % 2 else []
        arrays = [a + b for a, b in zip(arrays[::2], arrays[1::2], strict=False)] + odd
    return arrays[0]
