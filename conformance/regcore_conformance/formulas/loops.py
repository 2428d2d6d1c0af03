"""What a formula is given, and the loops over it: entries, lines along an axis, and lists of what an axis counts."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import Real, real, sqrt

Index = tuple[int, ...]


class Given(NamedTuple):
    """The arguments of a penalty. Arrays hold numbers of `arithmetic`, or integers or booleans."""

    fields: Any  # the fields of the spec as attributes, floats among them as numbers of `arithmetic`
    x: np.ndarray
    params: Mapping[str, np.ndarray]  # learned parameters, and inputs beside x
    mask: np.ndarray | None  # over leading axes of x
    held: Mapping[str, np.ndarray]  # "x" and the params, where they are regarded as constant


Formula = Callable[[Given], Real]


def total(numbers: Iterable[Real]) -> Real:
    return sum(numbers, start=real(0))


def mean(numbers: Iterable[Real]) -> Real:
    """The mean, and 0 of nothing."""
    numbers = list(numbers)
    return total(numbers) / len(numbers) if numbers else real(0)


def relu(number: Real) -> Real:
    return real(0) if number <= 0 else number


def indices(shape: Iterable[int]) -> Iterator[Index]:
    return itertools.product(*map(range, shape))


def positive(axes: int | tuple[int, ...], x: np.ndarray) -> tuple[int, ...]:
    """One axis or several, counted from the front."""
    return tuple(sorted(axis % x.ndim for axis in (axes if isinstance(axes, tuple) else (axes,))))


def others(axes: int | tuple[int, ...], x: np.ndarray) -> tuple[int, ...]:
    """All the other axes."""
    return tuple(axis for axis in range(x.ndim) if axis not in positive(axes, x))


def counts(mask: np.ndarray | None, index: Index) -> bool:
    """Whether the mask, which is over leading axes, lets an entry through."""
    return mask is None or bool(mask[index[: mask.ndim]])


def entries(x: np.ndarray, mask: np.ndarray | None) -> list[Real]:
    """All that the mask lets through."""
    return [x[index] for index in indices(x.shape) if counts(mask, index)]


def lists(x: np.ndarray, axes: tuple[int, ...], mask: np.ndarray | None = None) -> list[list[Real]]:
    """A list for each index along `axes`, of the entries there that the mask lets through."""
    found: dict[Index, list[Real]] = {index: [] for index in indices(x.shape[axis] for axis in axes)}
    for index in indices(x.shape):
        if counts(mask, index):
            found[tuple(index[axis] for axis in axes)].append(x[index])
    return list(found.values())


def lines(shape: Iterable[int], axis: int) -> Iterator[list[Index]]:
    """The indices along one axis, in order, for each index along the others."""
    sizes = list(shape)
    for start in indices(1 if each == axis else size for each, size in enumerate(sizes)):
        yield [(*start[:axis], step, *start[axis + 1 :]) for step in range(sizes[axis])]


def samples(x: np.ndarray, batch_axis: int, mask: np.ndarray | None) -> int:
    """How many indices along the batch axis there are of which the mask lets anything through."""
    (axis,) = positive(batch_axis, x)
    return len({index[axis] for index in indices(x.shape) if counts(mask, index)})


def reduced(given: Given, terms: Iterable[Real]) -> Real:
    """What `reduction` makes of the terms that count: their sum, their mean, or their sum over the samples."""
    terms = list(terms)
    if given.fields.reduction == "sum" or not terms:
        return total(terms)
    if given.fields.reduction == "mean":
        return total(terms) / len(terms)
    return total(terms) / samples(given.x, given.fields.batch_axis, given.mask)


def units(given: Given) -> list[list[Real]]:
    """A list for each unit, of its samples; every axis that is not in `batch_axis` counts units."""
    return lists(given.x, others(given.fields.batch_axis, given.x), given.mask)


def vectors(given: Given) -> list[list[Real]]:
    """A list for each vector along `vector_axis`, of its entries."""
    return lists(given.x, positive(given.fields.vector_axis, given.x))


def norm(vector: list[Real]) -> Real:
    return sqrt(total(entry * entry for entry in vector))


def variance(numbers: list[Real], correction: int) -> Real:
    centre = mean(numbers)
    return total((number - centre) ** 2 for number in numbers) / (len(numbers) - correction)


def covariance(a: list[Real], b: list[Real], correction: int) -> Real:
    mean_a, mean_b = mean(a), mean(b)
    return total((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True)) / (len(a) - correction)


def cosine(a: list[Real], b: list[Real]) -> Real:
    """That of the angle between two vectors; 0 if one is zero."""
    lengths = norm(a) * norm(b)
    return total(p * q for p, q in zip(a, b, strict=True)) / lengths if lengths else real(0)
