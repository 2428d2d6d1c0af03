"""Any library of the array API standard that does not differentiate by itself: NumPy, array-api-strict, ..."""

from typing import Any

import array_api_compat
import numpy as np

from .. import pieces, precision, slabs


def namespace(x: Any) -> Any:
    try:
        return array_api_compat.array_namespace(x)
    except TypeError:
        raise TypeError(
            f"got {type(x).__module__}.{type(x).__name__}; expected an array of NumPy, PyTorch, JAX, TensorFlow or "
            "another array API library: convert a list with numpy.asarray, and pass a keras.Variable as its .value"
        ) from None


def shape(x: Any) -> tuple[int | None, ...]:
    return tuple(x.shape)


def kind(x: Any) -> Any:
    return (x.dtype, x.shape) if type(x) is np.ndarray else None


def asarray(constant: Any, x: Any) -> Any:
    return namespace(x).asarray(constant, device=array_api_compat.device(x))


def value(spec: Any, x: Any, params: Any, mask: Any, across: Any) -> Any:
    with np.errstate(all="ignore"):  # NaN and inf have decided outcomes
        if large := _pieces(spec, x, params, mask, across):
            return large.value()
        return precision.value(namespace(x), spec, x, params, mask, across)


def grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    with np.errstate(all="ignore"):
        if large := _pieces(spec, x, params, mask, across):
            return large.grad(upstream)
        return precision.grad(namespace(x), spec, x, params, mask, across, upstream)


def value_and_grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    with np.errstate(all="ignore"):
        if large := _pieces(spec, x, params, mask, across):
            return large.value_and_grad(upstream)
        return precision.value_and_grad(namespace(x), spec, x, params, mask, across, upstream)


def _pieces(spec: Any, x: Any, params: Any, mask: Any, across: Any) -> Any:
    """Of an array that can be written to."""
    if not isinstance(x, np.ndarray) or x.size <= pieces.CACHED:
        return None
    return slabs.cut(namespace(x), _NumPy, spec, x, params, mask, across, x.strides, pieces.CACHED)


# Having freed an array of this size, glibc keeps smaller ones that are freed for the next, and what is made on the way
# is not fetched from the system for each piece anew.
np.empty(64 * pieces.CACHED, np.uint8)


class _NumPy:
    """How pieces are written."""

    @staticmethod
    def empty(shape: Any, x: Any) -> Any:
        return np.empty(shape, x.dtype)

    @staticmethod
    def put(out: Any, factor: Any, array: Any) -> None:
        np.multiply(np.subtract(*array, out=out) if isinstance(array, pieces.Difference) else array, factor, out=out)

    @staticmethod
    def add(out: Any, factor: Any, array: Any) -> None:
        np.add(out, factor * (np.subtract(*array) if isinstance(array, pieces.Difference) else array), out=out)

    @staticmethod
    def line(piece: Any, slope: Any, offset: Any) -> None:
        np.multiply(piece, slope, out=piece)
        np.add(piece, offset, out=piece)


def attach(spec: Any, x: Any, params: Any, mask: Any, across: Any, factors: Any) -> Any:
    raise TypeError(
        f"{spec} was attached to an array of {type(x).__module__.split('.')[0]}, which does not differentiate: "
        "take the gradient by regcore.value_and_grad"
    )
