"""Value and gradient in NumPy, which differentiates nothing: natural expressions, the gradient worked out by hand."""

import functools
from typing import Any

import numpy as np

import regcore

from .row import BY_HAND, Row, Shape, Step, arrays


def tar(x: Any) -> Any:
    step = x[:, 1:] - x[:, :-1]
    gradient = np.zeros_like(x)
    gradient[:, 1:] += 2 * step / step.size
    gradient[:, :-1] -= 2 * step / step.size
    return np.mean(step**2), gradient


def tar_by_hand(x: Any) -> Any:
    """A hundred steps of a sequence at once."""
    (n, time, width), total = x.shape, 0.0
    gradient, count = np.empty_like(x), n * (time - 1) * width
    for some, out in zip(x, gradient, strict=True):
        for start in range(0, time, 100):
            low, high = max(start, 1), min(start + 100, time - 1)
            step = some[low : high + 1] - some[low - 1 : high]
            own = step[:-1].reshape(-1) if start + 100 < time else step.reshape(-1)
            total += float(np.dot(own, own))
            step *= 2.0 / count
            np.subtract(step[:-1], step[1:], out=out[low:high])
            if start == 0:
                np.negative(step[0], out=out[0])
            if start + 100 >= time:
                out[-1] = step[-1]
    return total / count, gradient


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
    written = {"peer": row.peer, **({BY_HAND: row.by_hand} if row.by_hand else {})}
    found: dict[str, Step] = {name: functools.partial(_written, globals()[f], x) for name, f in written.items()}
    return {**found, "ours": functools.partial(_ours, spec, x)}


def _written(function: Any, x: np.ndarray) -> tuple[Any, list[Any]]:
    value, gradient = function(x)
    return value, [gradient]


def _ours(spec: regcore.Penalty, x: np.ndarray) -> tuple[Any, list[Any]]:
    value, (gradient, _) = regcore.value_and_grad(spec, x)
    return value, [gradient]
