"""JAX: `custom_jvp` carries the closed form, which gives grad, jvp, hessian, vmap and jit."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp

from .. import precision
from .array_api import shape as shape


def namespace(x: Any) -> Any:
    return jnp


def asarray(constant: Any, x: Any) -> jax.Array:
    return jnp.asarray(constant)


def value(spec: Any, x: Any, params: Any, mask: Any) -> jax.Array:
    return _penalty(spec, x, params, mask)


def grad(spec: Any, x: Any, params: Any, mask: Any, upstream: Any) -> Any:
    with _arithmetic(spec):
        return precision.grad(jnp, spec, x, params, mask, upstream)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _penalty(spec: Any, x: Any, params: Any, mask: Any) -> jax.Array:
    with _arithmetic(spec):
        return precision.value(jnp, spec, x, params, mask)


@_penalty.defjvp
def _penalty_jvp(spec: Any, primals: Any, tangents: Any) -> Any:
    x, params, mask = primals
    dx, dparams, _ = tangents
    result = _penalty(spec, x, params, mask)
    with _arithmetic(spec):
        by_x, by_params = precision.wide_grad(jnp, spec, x, params, mask)
        tangent = jnp.sum(by_x * dx.astype(by_x.dtype))
        for name, by_param in by_params.items():
            tangent = tangent + jnp.sum(by_param * dparams[name].astype(by_param.dtype))
        return result, tangent.astype(result.dtype)


@contextlib.contextmanager
def _arithmetic(spec: Any) -> Any:
    """Full float32 products on every device, and float64 for an exact spec even where x64 is off."""
    with jax.default_matmul_precision("highest"), jax.enable_x64(True) if spec.exact else contextlib.nullcontext():
        yield
