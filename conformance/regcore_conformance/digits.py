"""An array namespace whose real numbers have 60 digits: NumPy's functions, on arrays of MPFR's numbers."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gmpy2
import numpy as np

from .svd import SVD, svd

BITS = 200  # 60 decimal digits

SAME = ["sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "floor", "ceil", "sign"]
TESTS = {"isnan": "is_nan", "isinf": "is_infinite", "isfinite": "is_finite"}
ARC = ["sin", "cos", "tan", "sinh", "cosh", "tanh"]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(gmpy2, name) for name in SAME},
    **{name: getattr(gmpy2, same) for name, same in TESTS.items()},
    **{f"arc{name}": getattr(gmpy2, f"a{name}") for name in ARC},
    "logaddexp": lambda a, b: max(a, b) + gmpy2.log1p(gmpy2.exp(-abs(a - b))),
}


def precision() -> Any:
    """The context in which these numbers have their precision."""
    return gmpy2.context(precision=BITS)


class _Array(np.ndarray):
    """An array of MPFR's numbers, or of NumPy's integers or booleans, whose 0-d results stay arrays."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [_plain(i) for i in inputs]
        if ufunc is np.true_divide or any(
            i.dtype.kind in "fO" for i in plain
        ):  # else integers, which stay what they are
            plain = [i if i.dtype == object else _wide(i) for i in plain]
        function = FUNCTIONS.get(ufunc.__name__)
        if function is None:
            return np.asarray(getattr(ufunc, method)(*plain, **kwargs)).view(_Array)
        result = np.asarray(np.frompyfunc(function, ufunc.nin, 1)(*plain), dtype=object)
        return (result.astype(bool) if ufunc.__name__ in TESTS else _wide(result)).view(_Array)


def asarray(array: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """What is floating, or is to be, as MPFR's numbers; labels and masks as they are."""
    array = _plain(array)
    if dtype is not None and np.dtype(dtype) != object:
        return array.astype(dtype).view(_Array)
    return (_wide(array) if dtype is not None or array.dtype.kind in "fO" else array).view(_Array)


def astype(array: Any, dtype: Any) -> Any:
    return asarray(array, dtype=dtype)


def isdtype(dtype: Any, kind: str) -> bool:
    return kind == "real floating" if np.dtype(dtype).kind == "O" else np.isdtype(dtype, kind)


def _plain(array: Any) -> np.ndarray:
    return np.asarray(array).view(np.ndarray)


def _number(number: Any) -> Any:
    return number if type(number) is gmpy2.mpfr else gmpy2.mpfr(number)


def _wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(_number, 1, 1)(array), dtype=object)


def _svd(matrix: Any, *, full_matrices: bool) -> SVD:
    return SVD(*map(asarray, svd(_plain(matrix), gmpy2.mpfr(2.0**-BITS))))


class _Namespace:
    """NumPy, what whose functions return is made of MPFR's numbers again."""

    float32 = float64 = np.dtype(object)
    int32, int64 = np.dtype(np.int32), np.dtype(np.int64)
    asarray, astype, isdtype = staticmethod(asarray), staticmethod(astype), staticmethod(isdtype)
    linalg = SimpleNamespace(svd=_svd)

    @staticmethod
    def mean(array: Any, **kwargs: Any) -> Any:
        total = asarray(np.sum(array, **kwargs))
        return total * total.size / _plain(array).size

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(np, name)
        return function if isinstance(function, np.ufunc) else functools.partial(_call, function)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("device", None)
    result = function(*args, **kwargs)
    return tuple(map(asarray, result)) if isinstance(result, (tuple, list)) else asarray(result)


xp = _Namespace()
