"""The step through `regcore_flax.Regularize`, under jit."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from regcore_flax import Regularize, combine

from . import ALPHA, RATE, SPEC, Problem


class _Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Regularize(SPEC, name="reg")(nn.Dense(4, name="dense", precision="highest")(x))


def step(problem: Problem) -> dict[str, np.ndarray]:
    params = _Net().init(jax.random.key(0), problem.x)["params"]
    params["dense"] = {"kernel": jnp.asarray(problem.W), "bias": jnp.asarray(problem.b)}

    @jax.jit
    def loss(params: Any) -> jax.Array:
        y, state = _Net().apply({"params": params}, problem.x, mutable=["penalties"])
        return combine(jnp.mean((y - problem.target) ** 2), state)

    params = jax.tree.map(lambda weight, slope: weight - RATE * slope, params, jax.grad(loss)(params))
    after = {"W": params["dense"]["kernel"], "b": params["dense"]["bias"], "alpha": params["reg"][ALPHA]}
    return {name: np.asarray(array) for name, array in after.items()}
