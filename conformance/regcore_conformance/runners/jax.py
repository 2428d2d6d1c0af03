"""JAX: reverse mode, operation by operation and under jit."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..cases import UPSTREAM
from . import Evaluate, Unsupported


def describe(x64: bool) -> str:
    jax.config.update("jax_enable_x64", x64)
    return f"jax {jax.__version__}, x64 {'on' if x64 else 'off'}"


def evaluators(device: str) -> dict[str, Evaluate]:
    jitted = functools.partial(jax.jit, static_argnums=0)(_call_and_prove)
    return {
        "eager": functools.partial(_differentiate, _call, device),
        "jit": functools.partial(_differentiate, jitted, device),
    }


def _call(spec: Any, x: Any, params: Any, mask: Any) -> Any:
    value, pull_back = jax.vjp(lambda x, params: spec(x, params, mask=mask), x, params)
    return value, *pull_back(jnp.full_like(value, UPSTREAM))


def _call_and_prove(spec: Any, x: Any, params: Any, mask: Any) -> Any:
    if not isinstance(x, jax.core.Tracer):
        raise RuntimeError("this was to be traced by jit and ran operation by operation")
    return _call(spec, x, params, mask)


def _differentiate(function: Any, device: str, spec: Any, x: np.ndarray, params: Any, mask: Any) -> Any:
    if x.dtype == np.float64 and not jax.config.jax_enable_x64:
        raise Unsupported("JAX has no float64 arrays while x64 is off")
    place = jax.devices(device)[0]
    x, params, mask = jax.device_put((x, params, mask), place)
    value, dx, dparams = function(spec, x, params, mask)
    results = {"value": value, "x": dx, **dparams}
    if wrong := {str(array.devices()) for array in results.values() if array.devices() != {place}}:
        raise RuntimeError(f"results are on {wrong} and were to be on {place}")
    return {name: np.asarray(array) for name, array in results.items()}
