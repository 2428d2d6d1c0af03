"""The demo in Flax Linen: `Regularize` modules sow penalties, and the jitted step combines them."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import regcore
import regcore_flax

from .initial import CLASSES, Deep, Net, Recurrent


class DeepNet(nn.Module):
    layers: int
    width: int
    spec: regcore.Penalty | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number in range(self.layers):
            x = nn.relu(nn.Dense(self.width, name=f"hidden_{number}")(x))
            x = regcore_flax.Regularize(self.spec, name=f"entropy_{number}")(x) if self.spec else x
        return nn.Dense(CLASSES, name="out")(x)


class RecurrentNet(nn.Module):
    units: int
    spec: regcore.Penalty | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        states = nn.RNN(nn.SimpleCell(self.units, name="cell"))(x)
        states = regcore_flax.Regularize(self.spec)(states) if self.spec else states
        return nn.Dense(CLASSES, name="out")(states[:, -1])


class Training:
    """A network in training, with or without its penalty."""

    def __init__(self, net: Net, regularized: bool) -> None:
        spec = net.spec if regularized else None
        deep = isinstance(net, Deep)
        self.model = DeepNet(net.layers, net.width, spec) if deep else RecurrentNet(net.units, spec)
        self.params = jax.tree.map(jnp.asarray, _deep_params(net) if deep else _recurrent_params(net))
        self.optimizer = optax.adam(net.learning_rate, eps=1e-8)
        self.state = self.optimizer.init(self.params)
        self.evaluate = jax.jit(self.model.apply)

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        self.params, self.state, self.recorded = _step(self.model, self.optimizer, self.params, self.state, x, y)

    def penalties(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.recorded.items()}

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.evaluate({"params": self.params}, x))


def value_and_grad(spec: regcore.Penalty, x: np.ndarray, params: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
    """A penalty of bare arrays and its derivative, as JAX takes it."""
    value, (dx, dparams) = jax.jit(jax.value_and_grad(spec, argnums=(0, 1)))(jnp.asarray(x), params)
    return value, dx, dparams


@functools.partial(jax.jit, static_argnames=("model", "optimizer"))
def _step(model: nn.Module, optimizer: optax.GradientTransformation, params: Any, state: Any, x: Any, y: Any) -> Any:
    def loss(params: Any) -> Any:
        logits, recorded = model.apply({"params": params}, x, mutable=["penalties"])
        task = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        total = regcore_flax.combine(task, recorded) if model.spec else task
        return total, regcore_flax.values(recorded)

    grads, penalties = jax.grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, penalties


def _deep_params(net: Deep) -> dict[str, Any]:
    hidden = {f"hidden_{number}": layer._asdict() for number, layer in enumerate(net.hidden)}
    learned = {f"entropy_{number}": net.spec.init() for number in range(net.layers)}
    return {**hidden, **learned, "out": net.out._asdict()}


def _recurrent_params(net: Recurrent) -> dict[str, Any]:
    return {"cell": {"i": net.input._asdict(), "h": {"kernel": net.recurrent}}, "out": net.out._asdict()}
