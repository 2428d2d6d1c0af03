"""Variances of a large batch in one pass: moments of slabs that stay in the cache, joined by the formula of Chan."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import precision
from .cuts import Index, cuts, memory_order, slices
from .moments import Axes, first_sample, units_of
from .pieces import Pieces, pieces
from .variances import Lines, lines, term_of

if TYPE_CHECKING:
    from .penalty import Array, Gradient, Params, Penalty, Shape, Term

FEWEST = 64  # samples in a slab, so that what is done once for each unit of it does not count


class Sums(NamedTuple):
    """Of n samples: the mean of each unit less the first sample of all, and the sum of squared deviations from it."""

    n: int
    mean: "Array"
    squares: "Array"

    def joined(self, other: "Sums") -> "Sums":
        n, apart = self.n + other.n, other.mean - self.mean
        between = (apart * apart) * (self.n * other.n / n)
        return Sums(n, self.mean + apart * (other.n / n), (self.squares + other.squares) + between)


@dataclasses.dataclass(frozen=True)
class Slabs:
    """A penalty of a large array that is a function of variances; it has the methods of `pieces.Pieces`.

    Moments are taken of `slabs`: for each part of the units, the slices along the batch. The gradient is taken of
    slices of at most `largest` entries that are contiguous if they can be.
    """

    xp: Any
    library: Any
    spec: "Penalty"
    x: "Array"
    params: "Params"
    term: "Term"
    dtype: Any  # to compute in
    batch: Axes
    order: Axes  # axes from the outermost in memory to the innermost
    slabs: list[list[Index]]
    largest: int

    def value(self) -> "Array":
        return precision.rounded(self.xp, self.x, self.lines().value)

    def grad(self, upstream: "float | Array") -> "Gradient":
        return self.along(self.lines(), upstream)

    def value_and_grad(self, upstream: "float | Array") -> "tuple[Array, Gradient]":
        found = self.lines()
        return precision.rounded(self.xp, self.x, found.value), self.along(found, upstream)

    def lines(self) -> Lines:
        """What the value and the gradient take, from one pass over x."""
        first, params = precision.wide(self.xp, self.spec, first_sample(self.x, self.batch), self.params)
        mean, squares = self._empty(first.shape, first), self._empty(first.shape, first)
        work = self._work(self.slabs[0][0], first)
        for slabs in self.slabs:
            units = self._units(slabs[0])
            of_part = _joined(self._of_slabs(slabs, first[units], work))
            mean[units], squares[units] = of_part.mean, of_part.squares
        n = math.prod([self.x.shape[axis] for axis in self.batch])
        return lines(self.xp, self.term, n, mean, squares, params)

    def along(self, found: Lines, upstream: "float | Array") -> "Gradient":
        """`upstream` times the gradient, in one pass over x."""
        xp, x = self.xp, self.x
        first = precision.cast(xp, first_sample(x, self.batch), self.dtype)
        if not isinstance(upstream, float):
            upstream = precision.cast(xp, upstream, first.dtype)
        slope = found.slope * upstream
        offset = -slope * found.mean
        gradient = self._empty(x.shape, x)
        rows = slices(tuple(x.shape), self.order, self.largest)
        work = None if first.dtype == x.dtype else self._work(rows[0], first)
        for index in rows:
            units, out = self._units(index), gradient[index]
            into = out if work is None else _corner(work, out.shape)
            xp.subtract(self._wide(index), first[units], out=into)
            self.library.line(into, slope[units], offset[units])
            if work is not None:
                gradient[index] = precision.round_once(xp, into, x.dtype)
        by = {
            name: precision.round_once(xp, upstream * d, self.params[name].dtype) for name, d in found.by_params.items()
        }
        return gradient, by

    def _of_slabs(self, indices: Iterable[Index], first: "Array", work: "Array") -> Iterator[Sums]:
        """Sums about the mean of the slab before, which cancel little: the slab is near it, or the variance large."""
        xp, about = self.xp, first
        for i, index in enumerate(indices):
            x = self._wide(index)
            n, part = math.prod([x.shape[axis] for axis in self.batch]), _corner(work, x.shape)
            xp.subtract(x, about, out=part)
            mean = xp.sum(part, axis=self.batch, keepdims=True) * (1.0 / n)
            if i == 0:
                xp.subtract(part, mean, out=part)
            xp.multiply(part, part, out=part)
            squares = xp.sum(part, axis=self.batch, keepdims=True)
            yield Sums(n, mean + (about - first), squares if i == 0 else squares - (mean * mean) * n)
            about = about + mean

    def _wide(self, index: Index) -> "Array":
        return precision.cast(self.xp, self.x[index], self.dtype)

    def _units(self, index: Index) -> Index:
        return tuple([slice(None) if axis in self.batch else part for axis, part in enumerate(index)])

    def _work(self, index: Index, like: "Array") -> "Array":
        return self._empty(self.x[index].shape, like)

    def _empty(self, shape: "Shape", like: "Array") -> "Array":
        """With axes in memory as those of x."""
        empty = self.library.empty(tuple([shape[axis] for axis in self.order]), like)
        return self.xp.permute_dims(empty, tuple([self.order.index(axis) for axis in range(len(shape))]))


def cut(
    xp: Any,
    library: Any,
    spec: "Penalty",
    x: "Array",
    params: "Params",
    mask: "Array",
    across: Any,
    strides: Sequence[int],
    largest: int,
) -> "Slabs | Pieces | None":
    """`spec` in slabs or pieces of at most `largest` entries, or None if it does not come apart."""
    term = term_of(spec, across) if mask is None else None
    if term is None:
        return pieces(xp, library, spec, x, params, mask, across, strides, largest)
    penalty: Any = term.penalty
    shape, order, dtype = tuple(x.shape), memory_order(strides), precision.wide_dtype(xp, spec, x)
    batch: Axes = penalty.batch(shape)
    slabs = _cut(shape, order, batch, largest)
    return Slabs(xp, library, spec, x, params, term, dtype, batch, order, slabs, largest)


def _cut(shape: tuple[int, ...], order: Axes, batch: Axes, largest: int) -> list[list[Index]]:
    """Slabs of whole units where samples are innermost in memory, and else of some units and 64 samples or more."""
    units, own = units_of(shape, batch), [axis for axis in order if axis not in batch]
    samples = math.prod([shape[axis] for axis in batch])
    few = largest if order[-1] in batch else samples * max(1, largest // min(samples, FEWEST))
    each = cuts(shape, [(own, few), ([axis for axis in order if axis in batch], largest)])
    of_units = [each[axis] if axis in units else [slice(None)] for axis in range(len(shape))]
    found = []
    for part in itertools.product(*of_units):
        along = [[part[axis]] if axis in units else each[axis] for axis in range(len(shape))]
        found.append(list(itertools.product(*along)))
    return found


def _corner(work: "Array", shape: Sequence[int]) -> "Array":
    """As much of it as the last slabs have, which may be smaller."""
    return work if tuple(work.shape) == tuple(shape) else work[tuple([slice(size) for size in shape])]


def _joined(slabs: Iterable[Sums]) -> Sums:
    """In pairs of equal size as they come, which has few roundings between each of them and the result."""
    waiting: list[tuple[int, Sums]] = []  # with how many slabs are in each
    for sums in slabs:
        size = 1
        while waiting and waiting[-1][0] == size:
            sums, size = waiting.pop()[1].joined(sums), 2 * size
        waiting.append((size, sums))
    last = waiting.pop()[1]
    while waiting:
        last = waiting.pop()[1].joined(last)
    return last
