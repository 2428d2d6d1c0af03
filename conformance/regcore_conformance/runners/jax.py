"""JAX: reverse mode, operation by operation, under jit, under vmap, twice, and over the replicas of a named axis."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regcore import Alone

from ..cases import UPSTREAM
from . import Evaluate, Unsupported, blocks, directions, floating, in_float64, shards
from .bundle import Bundle, Mapped, Problem, Results

AXIS = "replica"


def evaluators(device: str) -> dict[str, Evaluate]:
    def eager(*problem: Any) -> Results:
        (results,) = _run(_call, device, [Problem(*problem)])
        return results

    return {
        "eager": eager,
        "jit": Bundle(lambda specs: functools.partial(_run, _jitted, device)),
        "panels": Bundle(blocks.within(lambda specs: functools.partial(_run, _in_panels, device))),
        "vmap": Mapped(functools.partial(_mapped, device)),
        "second": Bundle(lambda specs: lambda problems: _run(_twice, device, [*map(in_float64, problems)])),
        "shards": functools.partial(_sharded, device),
    }


def _call(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    return [_differentiate(spec, *arrays) for spec, arrays in zip(specs, inputs, strict=True)]


@functools.partial(jax.jit, static_argnums=0)
def _jitted(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    if not all(isinstance(x, jax.core.Tracer) for x, _, _ in inputs):
        raise RuntimeError("this was to be traced by jit and ran operation by operation")
    return _call(specs, inputs)


@functools.partial(jax.jit, static_argnums=0)
def _in_panels(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    return _call(specs, inputs)  # apart from `_jitted`, which keeps its programs


@functools.partial(jax.jit, static_argnums=0)
def _twice(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    return [{"second": _second(spec, *arrays)} for spec, arrays in zip(specs, inputs, strict=True)]


def _second(spec: Any, x: Any, params: Any, mask: Any) -> Any:
    """v H w, by differentiating the gradient times v."""
    inputs = {"x": x, **{name: params[name] for name in floating(params)}}
    v, w = directions({name: array.shape for name, array in inputs.items()})

    def along(by: Any) -> Any:
        gradient = _differentiate(spec, by["x"], {**params, **_learned(by)}, mask)
        return sum(jnp.sum(gradient[name] * v[name]) for name in v)

    second = jax.grad(along)(inputs)
    return sum(jnp.sum(second[name] * w[name]) for name in w)


def _learned(by: dict[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in by.items() if name != "x"}


def _mapped(device: str, groups: Sequence[Sequence[Problem]]) -> list[list[Results]]:
    """All data of each spec as one batch, each with derivatives of its own."""
    results = _run(_vmapped, device, [_stacked(group) for group in groups])
    return [_apart(of, len(group)) for of, group in zip(results, groups, strict=True)]


def _stacked(problems: Sequence[Problem]) -> Problem:
    arrays = jax.tree.map(lambda *each: np.stack(each), *[tuple(problem[1:]) for problem in problems])
    return Problem(problems[0].spec, *arrays)


def _apart(results: Results, size: int) -> list[Results]:
    return [{name: array[i] for name, array in results.items()} for i in range(size)]


@functools.partial(jax.jit, static_argnums=0)
def _vmapped(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    pairs = zip(specs, inputs, strict=True)
    return [jax.vmap(functools.partial(_differentiate, spec))(*arrays) for spec, arrays in pairs]


def _sharded(device: str, *problem: Any) -> Results:
    """Equal shards of a batch as a named axis, over which statistics are summed."""
    given = Problem(*problem)
    parts = shards.split(given)
    if parts[0].x.shape != parts[1].x.shape:
        raise Unsupported("the replicas of a named axis have shards of one size")
    (results,) = _run(_over_replicas, device, [_stacked(parts)])
    return shards.merged(given, _apart(results, shards.SIZE))


@functools.partial(jax.jit, static_argnums=0)
def _over_replicas(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    (spec,), (arrays,) = specs, inputs
    differentiate = functools.partial(_differentiate, spec, across=Replicas(shards.SIZE))
    return [jax.vmap(differentiate, axis_name=AXIS)(*arrays)]


class Replicas(NamedTuple):
    """What a data-parallel program passes as `across`."""

    size: int

    def sum(self, array: Any) -> Any:
        return jax.lax.psum(array, AXIS)

    def max(self, array: Any) -> Any:
        return jax.lax.pmax(array, AXIS)


def _differentiate(spec: Any, x: Any, params: Any, mask: Any, across: Any = Alone) -> dict[str, Any]:
    by = {name: params[name] for name in floating(params)}
    value, pull_back = jax.vjp(lambda x, by: spec(x, {**params, **by}, mask=mask, across=across), x, by)
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
