"""An array as vectors: the slices along one axis, flattened to the rows of a matrix, and their directions."""

import math
from typing import TYPE_CHECKING, Any

from .counting import positive_axis

if TYPE_CHECKING:
    from .penalty import Array, Penalty, Shape


def check_vectors(spec: "Penalty", shape: "Shape", vector_axis: int) -> None:
    """ValueError for fewer than two axes, unknown sizes, or a single vector."""
    if len(shape) < 2:
        raise ValueError(f"{spec} got shape {shape}; it compares vectors, so it needs an array with two axes or more")
    axis = positive_axis("vector_axis", vector_axis, len(shape))
    if None in shape:
        raise ValueError(f"{spec} got shape {shape}; all sizes must be known: give the input a fixed shape")
    if shape[axis] == 1:
        raise ValueError(f"{spec} got shape {shape}, a single vector; it compares pairs, so it needs two or more")


def matrix_shape(shape: "Shape", vector_axis: int) -> tuple[int, int]:
    """Vectors and entries of each, in an array of known sizes."""
    m = shape[vector_axis]
    assert m is not None
    return m, math.prod([size for size in shape if size is not None]) // m


def rows(xp: Any, x: "Array", vector_axis: int) -> "Array":
    """A matrix with a row for each vector."""
    order = _order(len(x.shape), vector_axis)
    return xp.reshape(xp.permute_dims(x, order), (x.shape[order[0]], -1))


def unrows(xp: Any, matrix: "Array", x: "Array", vector_axis: int) -> "Array":
    """The inverse of `rows`, in the shape of `x`."""
    order = _order(len(x.shape), vector_axis)
    back = tuple(order.index(axis) for axis in range(len(order)))
    return xp.permute_dims(xp.reshape(matrix, tuple(x.shape[axis] for axis in order)), back)


def directions(xp: Any, matrix: "Array") -> "tuple[Array, Array]":
    """Unit rows and one over their lengths, both 0 for a zero row; scaled by the largest entry against overflow."""
    largest = xp.max(xp.abs(matrix), axis=1, keepdims=True)
    zero = largest == 0
    scaled = matrix / xp.where(zero, xp.ones_like(largest), largest)
    square = xp.sum(scaled * scaled, axis=1, keepdims=True)
    length = xp.sqrt(xp.where(zero, xp.ones_like(square), square))
    per_length = 1.0 / length / xp.where(zero, xp.ones_like(largest), largest)
    return scaled / length, xp.where(zero, xp.zeros_like(length), per_length)


def upper_products(xp: Any, matrix: "Array") -> "Array":
    """Products of each pair of rows once, above a zero diagonal."""
    return xp.triu(xp.matmul(matrix, xp.matrix_transpose(matrix)), k=1)


def _order(ndim: int, vector_axis: int) -> tuple[int, ...]:
    first = vector_axis % ndim
    return (first, *(axis for axis in range(ndim) if axis != first))
