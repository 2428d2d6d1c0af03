"""JAX: reverse mode, operation by operation and under jit."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..cases import UPSTREAM
from . import Evaluate, Unsupported, floating
from .bundle import Bundle, Problem, Results


def evaluators(device: str) -> dict[str, Evaluate]:
    def eager(*problem: Any) -> Results:
        (results,) = _run(_call, device, [Problem(*problem)])
        return results

    return {"eager": eager, "jit": Bundle(lambda specs: functools.partial(_run, _jitted, device))}


def _call(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    return [_differentiate(spec, *arrays) for spec, arrays in zip(specs, inputs, strict=True)]


@functools.partial(jax.jit, static_argnums=0)
def _jitted(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    if not all(isinstance(x, jax.core.Tracer) for x, _, _ in inputs):
        raise RuntimeError("this was to be traced by jit and ran operation by operation")
    return _call(specs, inputs)


def _differentiate(spec: Any, x: Any, params: Any, mask: Any) -> dict[str, Any]:
    by = {name: params[name] for name in floating(params)}
    value, pull_back = jax.vjp(lambda x, by: spec(x, {**params, **by}, mask=mask), x, by)
    dx, dparams = pull_back(jnp.full_like(value, UPSTREAM))
    return {"value": value, "x": dx, **dparams}


def _run(function: Any, device: str, problems: Sequence[Problem]) -> list[Results]:
    if any(problem.x.dtype == np.float64 for problem in problems) and not jax.config.jax_enable_x64:
        raise Unsupported("JAX has no float64 arrays while x64 is off")
    place = jax.devices(device)[0]
    inputs = jax.device_put([(problem.x, problem.params, problem.mask) for problem in problems], place)
    outputs = function(tuple(problem.spec for problem in problems), inputs)
    arrays = [array for results in outputs for array in results.values()]
    if wrong := {str(array.devices()) for array in arrays if array.devices() != {place}}:
        raise RuntimeError(f"results are on {wrong} and were to be on {place}")
    return [{name: np.asarray(array) for name, array in results.items()} for results in outputs]
