"""Any library of the array API standard that does not differentiate by itself: NumPy, array-api-strict, ..."""

from typing import Any

import array_api_compat
import numpy as np

from .. import precision


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


def asarray(constant: Any, x: Any) -> Any:
    return namespace(x).asarray(constant, device=array_api_compat.device(x))


def value(spec: Any, x: Any, params: Any, mask: Any, across: Any) -> Any:
    with np.errstate(all="ignore"):  # NaN and inf have decided outcomes
        return precision.value(namespace(x), spec, x, params, mask, across)


def grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    with np.errstate(all="ignore"):
        return precision.grad(namespace(x), spec, x, params, mask, across, upstream)


def value_and_grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    with np.errstate(all="ignore"):
        return precision.value_and_grad(namespace(x), spec, x, params, mask, across, upstream)


def attach(spec: Any, x: Any, params: Any, mask: Any, across: Any, factors: Any) -> Any:
    raise TypeError(
        f"{spec} was attached to an array of {type(x).__module__.split('.')[0]}, which does not differentiate: "
        "take the gradient by regcore.value_and_grad"
    )
