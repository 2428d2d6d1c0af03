"""JAX's vmap with a named axis, which stands in for several devices."""

from typing import Any

import pytest

AXIS = "replica"


class Replicas:
    """What a data-parallel trainer passes as `across`, inside `jax.vmap(..., axis_name=AXIS)` over `size` shards."""

    def __init__(self, size: int) -> None:
        self.jax = pytest.importorskip("jax", reason="jax is not installed")
        self.size = size

    def sum(self, array: Any) -> Any:
        return self.jax.lax.psum(array, AXIS)

    def max(self, array: Any) -> Any:
        return self.jax.lax.pmax(array, AXIS)


def on_replicas(spec: Any, x: Any, params: Any, size: int = 2) -> tuple[Any, Any, Any]:
    """The value on each of the replicas that share the samples of `x`, and the averages of their gradients."""
    across = Replicas(size)

    def shard(x: Any) -> tuple[Any, Any, Any]:
        return spec.value(across.jax.numpy, x, params, across=across), *spec.grad(
            across.jax.numpy, x, params, across=across
        )

    shards = x.reshape(size, len(x) // size, *x.shape[1:])
    values, dx, dparams = across.jax.vmap(shard, axis_name=AXIS)(shards)
    return values, dx.reshape(x.shape) / size, {name: d.mean(axis=0) for name, d in dparams.items()}
