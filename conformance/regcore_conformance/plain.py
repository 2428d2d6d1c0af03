"""Value and gradient of a plain function from an array to a number, as its own framework differentiates it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Function = Callable[[Any], Any]

STEP = 2.0**-12  # of central differences, in units of the spread of the data
ROUNDING = 2.0**-45  # of a value, with room for a function that loses some digits


class Result(NamedTuple):
    """A value and a gradient in float64, and by how much differences may be off, which is infinite at a kink."""

    value: float
    gradient: np.ndarray
    slack: np.ndarray | float = 0.0


class NoResult(Exception):
    """The function gives no number, or none that its framework can differentiate."""


def _torch(function: Function, x: np.ndarray) -> Result:
    import torch

    leaf = torch.tensor(x, requires_grad=True)
    value = function(leaf)
    _require_scalar(value, torch.Tensor)
    if not value.requires_grad:
        raise NoResult("no gradient reaches x: something on the way, such as .detach() or .item(), cuts it off")
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return _result(value.item(), x, None if gradient is None else gradient.numpy())


def _jax(function: Function, x: np.ndarray) -> Result:
    import jax

    with jax.enable_x64(x.dtype == np.float64):
        value, pull_back = jax.vjp(function, jax.numpy.asarray(x))
        _require_scalar(value, jax.Array)
        (gradient,) = pull_back(jax.numpy.ones_like(value))
        return _result(float(value), x, np.asarray(gradient))


def _tensorflow(function: Function, x: np.ndarray) -> Result:
    import tensorflow as tf

    leaf = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        value = function(leaf)
    _require_scalar(value, tf.Tensor)
    gradient = tape.gradient(value, leaf)
    return _result(float(value), x, None if gradient is None else tf.convert_to_tensor(gradient).numpy())


def _numpy(function: Function, x: np.ndarray) -> Result:
    """By central differences of two steps, always in float64. At a kink they say nothing."""
    x = x.astype(np.float64)
    value = function(x.copy())
    _require_scalar(value, (np.ndarray, np.generic, float, int))
    spread, centre = _spread(x), float(value)
    gradient, slack = np.empty_like(x), np.empty_like(x)
    for index in np.ndindex(x.shape):
        step = STEP * float(spread[index])
        at = [centre if k == 0 else float(function(_moved(x, index, k * step))) for k in range(-2, 3)]
        gradient[index], slack[index] = _difference(np.asarray(at), step)
    return Result(centre, gradient, slack)


def _difference(at: np.ndarray, step: float) -> tuple[float, float]:
    """The derivative from values at -2 to 2 steps, and by how much it may be off."""
    narrow, wide = (at[3] - at[1]) / (2 * step), (at[4] - at[0]) / (4 * step)
    bend, bend_wide = abs(at[3] - 2 * at[2] + at[1]) / step, abs(at[4] - 2 * at[2] + at[0]) / (2 * step)
    rounding = ROUNDING * abs(at).max() / step
    kink = bend > 0.75 * bend_wide and bend > 64 * rounding + 1e-7 * abs(narrow)  # where smooth, half as wide is half
    return (4 * narrow - wide) / 3, np.inf if kink else abs(narrow - wide) + rounding


def _moved(x: np.ndarray, index: tuple[int, ...], change: float) -> np.ndarray:
    x = x.copy()
    x[index] += change
    return x


def _spread(x: np.ndarray) -> np.ndarray:
    """The range of each entry's column; where it is constant, that of all the data, or their size, or 1."""
    spread = np.ptp(x, axis=0, keepdims=True)
    other = np.ptp(x) or abs(x).max() or 1.0
    return np.broadcast_to(np.where(spread == 0, other, spread), x.shape)


def _require_scalar(value: Any, kinds: Any) -> None:
    if not isinstance(value, kinds):
        raise NoResult(f"it returned a {type(value).__name__}; expected a 0-d array of its framework")
    if np.shape(value) != ():
        raise NoResult(f"it returned an array of shape {tuple(np.shape(value))}; expected a 0-d one: reduce it")


def _result(value: float, x: np.ndarray, gradient: np.ndarray | None) -> Result:
    if gradient is None:
        raise NoResult("no gradient reaches x: the value does not depend on it")
    return Result(value, gradient.astype(np.float64))


RUN: dict[str, Callable[[Function, np.ndarray], Result]] = {
    "numpy": _numpy,
    "torch": _torch,
    "jax": _jax,
    "tensorflow": _tensorflow,
}
