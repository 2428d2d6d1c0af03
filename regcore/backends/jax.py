"""JAX: `custom_jvp` carries the closed form, which gives grad, jvp, hessian, vmap and jit."""

import contextlib
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from .. import precision
from .array_api import shape as shape


def namespace(x: Any) -> Any:
    return jnp


def kind(x: Any) -> Any:
    return None


def asarray(constant: Any, x: Any) -> jax.Array:
    return jnp.asarray(constant)


def value(spec: Any, x: Any, params: Any, mask: Any, across: Any) -> jax.Array:
    return _penalty(spec, across, x, params, mask)


def value_and_grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    return value(spec, x, params, mask, across), grad(spec, x, params, mask, across, upstream)


def attach(spec: Any, x: Any, params: Any, mask: Any, across: Any, factors: Any) -> jax.Array:
    return _attached(spec, across, x, params, mask, jnp.asarray(math.prod(factors)))


def grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    with _arithmetic(spec):
        return precision.grad(jnp, spec, x, params, mask, across, upstream)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _penalty(spec: Any, across: Any, x: Any, params: Any, mask: Any) -> jax.Array:
    with _arithmetic(spec):
        return precision.value(jnp, spec, x, params, mask, across)


@_penalty.defjvp
def _penalty_jvp(spec: Any, across: Any, primals: Any, tangents: Any) -> Any:
    x, params, mask = primals
    dx, dparams, _ = tangents
    with _arithmetic(spec):
        if precision.one_pass(spec, x, across):
            result, (by_x, by_params) = precision.wide_value_and_grad(jnp, spec, x, params, mask, across)
        else:
            result = _penalty(spec, across, x, params, mask)
            by_x, by_params = precision.wide_grad(jnp, spec, x, params, mask, across)
        tangent = jnp.sum(by_x * dx.astype(by_x.dtype))
        for name, by_param in by_params.items():
            tangent = tangent + jnp.sum(by_param * dparams[name].astype(by_param.dtype))
        return result, tangent.astype(result.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attached(spec: Any, across: Any, x: Any, params: Any, mask: Any, scale: Any) -> jax.Array:
    return x


def _attached_forward(spec: Any, across: Any, x: Any, params: Any, mask: Any, scale: Any) -> Any:
    return x, (x, params, mask, scale)


def _attached_backward(spec: Any, across: Any, kept: Any, upstream: jax.Array) -> Any:
    x, params, mask, scale = kept
    dx, dparams = grad(spec, x, params, mask, across, scale)
    return upstream + dx, {name: dparams.get(name) for name in params}, None, None


_attached.defvjp(_attached_forward, _attached_backward)


@contextlib.contextmanager
def _arithmetic(spec: Any) -> Any:
    """Full float32 products on every device, and float64 for an exact spec even where x64 is off."""
    with jax.default_matmul_precision("highest"), jax.enable_x64(True) if spec.exact else contextlib.nullcontext():
        yield
