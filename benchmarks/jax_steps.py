"""Forward and backward in JAX under jit, beside the natural expressions."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

import regcore

from .row import BY_HAND, Row, Shape, Step, arrays


def ar_tar(x: Any) -> Any:
    return 2.0 * jnp.mean(x**2) + jnp.mean((x[:, 1:] - x[:, :-1]) ** 2)


def entropy(x: Any, alpha: Any) -> Any:
    """The formula of peerdavid/layerwise-batch-entropy, by the variance."""
    layer = jnp.mean(0.5 * jnp.log(math.pi * math.e * jnp.var(x, axis=0, ddof=1) + 1.0))
    return 0.5 * (layer - jnp.maximum(0.2, jnp.abs(alpha))) ** 2


def covariance(x: Any) -> Any:
    """The term c(Z) of VICReg."""
    n, d = x.shape
    centred = x - jnp.mean(x, axis=0)
    matrix = centred.T @ centred / (n - 1)
    return (jnp.sum(matrix**2) - jnp.sum(jnp.diag(matrix) ** 2)) / d


def _unlike(x: Any) -> Any:
    u = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return u @ u.T * (1.0 - jnp.eye(len(x), dtype=x.dtype))


def mean_abs(x: Any) -> Any:
    return jnp.sum(jnp.abs(_unlike(x))) / (len(x) * (len(x) - 1))


def mean_square(x: Any) -> Any:
    return jnp.sum(_unlike(x) ** 2) / (len(x) * (len(x) - 1))


@jax.custom_vjp
def covariance_by_hand(x: Any) -> Any:
    """By the products of samples, all at once."""
    return _covariance(x)[0]


def _covariance(x: Any) -> Any:
    n, d = x.shape
    centred = x - jnp.mean(x, axis=0)
    products, lengths = centred @ centred.T, jnp.sum(centred**2, axis=0)
    return (jnp.sum(products**2) - jnp.sum(lengths**2)) / (d * (n - 1) ** 2), (centred, products, lengths)


def _by_covariance(saved: Any, upstream: Any) -> Any:
    centred, products, lengths = saved
    n, d = centred.shape
    return ((products @ centred - lengths * centred) * (4.0 * upstream / (d * (n - 1) ** 2)),)


covariance_by_hand.defvjp(_covariance, _by_covariance)


@jax.custom_vjp
def mean_square_by_hand(x: Any) -> Any:
    """By the products of columns, all at once."""
    return _mean_square(x)[0]


def _mean_square(x: Any) -> Any:
    m = len(x)
    length = jnp.linalg.norm(x, axis=1, keepdims=True)
    u = x / length
    products = u.T @ u
    return (jnp.sum(products**2) - m) / (m * (m - 1)), (u, length, products)


def _by_mean_square(saved: Any, upstream: Any) -> Any:
    u, length, products = saved
    slope = u @ (products * (4.0 * upstream / (len(u) * (len(u) - 1))))
    return ((slope - jnp.sum(slope * u, axis=1, keepdims=True) * u) / length,)


mean_square_by_hand.defvjp(_mean_square, _by_mean_square)


def array(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    named = {name: jnp.asarray(a) for name, a in arrays(spec, shape).items()}

    def ours(x: Any, **params: Any) -> Any:
        return regcore.value(spec, x, params)

    functions = {"peer": globals()[row.peer], "ours": ours}
    if row.by_hand:
        functions[BY_HAND] = globals()[row.by_hand]
    found: dict[str, Step] = {}
    for name, function in functions.items():
        both = jax.jit(jax.value_and_grad(lambda arrays, function=function: function(**arrays)))
        found[name] = functools.partial(_step, both.lower(named).compile(), named)
    return found


def _step(compiled: Any, named: dict[str, Any]) -> tuple[Any, list[Any]]:
    value, gradients = jax.block_until_ready(compiled(named))
    return value, [gradients[name] for name in named]


def temporary(step: Any) -> int:
    """Bytes that the compiled code needs beside its arguments and results."""
    return int(step.args[0].memory_analysis().temp_size_in_bytes)
