"""Where large arrays are cut: slices that stay in the cache, of memory that lies together if it can."""

import itertools
import math
from collections.abc import Mapping, Sequence

Index = tuple[slice, ...]


def memory_order(strides: Sequence[int]) -> tuple[int, ...]:
    """Axes from the outermost in memory to the innermost."""
    return tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))


def contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether entries follow each other in memory, in the order of the axes."""
    dense = [math.prod(shape[axis + 1 :]) * strides[-1] for axis in range(len(shape))]
    return all(size == 1 or one == other for size, one, other in zip(shape, strides, dense, strict=True))


def slices(
    shape: Sequence[int], axes: Sequence[int], largest: int, fewest: Mapping[int, int] | None = None
) -> list[Index]:
    """Cuts along as few of the axes as it takes, the outermost first, so that a slice is contiguous if it can be."""
    each = cuts(shape, [(axes, largest)], fewest)
    last = max([axis for axis, cut in enumerate(each) if len(cut) > 1 or axis == 0])
    return list(itertools.product(*each[: last + 1]))


def cuts(
    shape: Sequence[int], stages: Sequence[tuple[Sequence[int], int]], fewest: Mapping[int, int] | None = None
) -> list[list[slice]]:
    """Of each axis: in each stage along its axes, until a slice has no more entries than that.

    No slice but the last has less than the `fewest` along an axis that has some.
    """
    each, size = [[slice(None)] for _ in shape], math.prod(shape)
    for axis, largest in [(axis, largest) for axes, largest in stages for axis in axes]:
        if size > largest:
            length = shape[axis]
            size = size // length
            step = min(length, max((fewest or {}).get(axis, 1), largest // size))
            if step < length:
                each[axis] = [slice(start, start + step) for start in range(0, length, step)]
            size = size * step
    return each


def wider(index: Index, axis: int, before: int, after: int) -> tuple[Index, slice]:
    """A slice with up to that many more entries at the ends of an axis, and where its own lie in it."""
    if axis >= len(index) or index[axis].start is None:
        return index, slice(0, None)
    start, stop = index[axis].start, index[axis].stop
    before = min(before, start)
    wide = (*index[:axis], slice(start - before, stop + after), *index[axis + 1 :])
    return wide, slice(before, before + stop - start)
