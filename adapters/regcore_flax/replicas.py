"""A batch that is spread over the replicas of a named axis."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class Replicas:
    """Statistics over the named axis of `jax.shard_map`, `jax.pmap` or `jax.vmap`, for `across=`.

    Every replica gets the value of the whole batch. Differentiate the loss of each replica and average the gradients,
    `lax.pmean(grads, axis_name)`; then they are those of one device. In a `shard_map` with `check_vma`, make the
    parameters vary first, `lax.pcast(params, axis_name, to="varying")`: JAX otherwise sums the gradients by itself,
    those of the task as well. Under `jax.jit` with sharded arrays there is nothing to do, and nothing to pass.

    The shards of the batch have one size. JAX raises NameError where the axis is not bound.

        penalty = regcore.BatchEntropy()(h, params, across=Replicas("data"))
    """

    axis_name: str | tuple[str, ...]

    @property
    def size(self) -> int:
        return int(lax.axis_size(self.axis_name))

    def sum(self, array: jax.Array) -> jax.Array:
        return lax.psum(array, self.axis_name) + _nothing(array)

    def max(self, array: jax.Array) -> jax.Array:
        return lax.pmax(array, self.axis_name) + _nothing(array)


def _nothing(array: jax.Array) -> jax.Array:
    """Zero, which varies over the axes that `array` varies over: so must a value, since its derivative does."""
    return jnp.zeros_like(array)
