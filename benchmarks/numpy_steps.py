"""Value and gradient in NumPy, which differentiates nothing: natural expressions, the gradient worked out by hand."""

import functools
from typing import Any

import numpy as np

import regcore

from .row import Row, Shape, Step, arrays


def tar(x: Any) -> Any:
    step = x[:, 1:] - x[:, :-1]
    gradient = np.zeros_like(x)
    gradient[:, 1:] += 2 * step / step.size
    gradient[:, :-1] -= 2 * step / step.size
    return np.mean(step**2), gradient


def mean_square(x: Any) -> Any:
    """Of the cosines of unlike rows, by the Gram matrix."""
    m = len(x)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    u = x / length
    unlike = u @ u.T
    np.fill_diagonal(unlike, 0.0)
    by_unit = (4 / (m * (m - 1))) * (unlike @ u)
    return np.sum(unlike**2) / (m * (m - 1)), (by_unit - np.sum(by_unit * u, axis=1, keepdims=True) * u) / length


def array(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    x = arrays(spec, shape)["x"]
    return {"peer": functools.partial(_peer, globals()[row.peer], x), "ours": functools.partial(_ours, spec, x)}


def _peer(function: Any, x: np.ndarray) -> tuple[Any, list[Any]]:
    value, gradient = function(x)
    return value, [gradient]


def _ours(spec: regcore.Penalty, x: np.ndarray) -> tuple[Any, list[Any]]:
    value, (gradient, _) = regcore.value_and_grad(spec, x)
    return value, [gradient]
