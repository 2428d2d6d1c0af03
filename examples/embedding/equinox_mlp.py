"""An Equinox MLP in plain JAX: it returns what is penalized, and the loss, which sees the whole batch, adds it.

Run it by `python -m examples.embedding.equinox_mlp`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import regcore  # + import

from .data import digits
from .outcome import Outcome, difference, show

SPEC = 0.5 * regcore.L1() + 0.1 * regcore.DeCov()  # +


class Classifier(eqx.Module):
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.hidden, self.output = eqx.nn.Linear(64, 24, key=first), eqx.nn.Linear(24, 10, key=second)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = jax.nn.relu(self.hidden(x))
        return self.output(hidden), hidden  # +


def task(logits: jax.Array, classes: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean()


def loss(model: Classifier, x: jax.Array, classes: jax.Array) -> jax.Array:
    logits, hidden = jax.vmap(model)(x)
    return task(logits, classes) + SPEC(hidden)  # +


def by_hand(model: Classifier, x: jax.Array, classes: jax.Array) -> jax.Array:
    logits, hidden = jax.vmap(model)(x)
    centred = hidden - hidden.mean(0)
    covariance = centred.T @ centred / len(hidden)
    decov = (jnp.sum(covariance**2) - jnp.sum(jnp.diag(covariance) ** 2)) / 2
    return task(logits, classes) + 0.5 * jnp.mean(hidden) + 0.1 * decov  # what relu returns is its absolute value


def main(steps: int = 20) -> Outcome:
    with jax.enable_x64(True):
        model = Classifier(jax.random.key(0))
        x, classes = map(jnp.asarray, digits(256))
        optimizer, losses = optax.adam(0.01), []

        @jax.jit
        def step(model: Classifier, state: optax.OptState) -> tuple[Any, ...]:
            logits, hidden = jax.vmap(model)(x)
            gradients, theirs = (jax.grad(f)(model, x, classes) for f in (loss, by_hand))
            updates, state = optimizer.update(gradients, state)
            terms = {f"hidden/{term.name}": term.spec(hidden) for term in SPEC.terms()}
            return eqx.apply_updates(model, updates), state, task(logits, classes), terms, gradients, theirs

        state = jax.jit(optimizer.init)(model)
        for _ in range(steps):
            model, state, value, terms, *both = step(model, state)
            losses.append(float(value))
        apart = difference(*map(jax.device_get, map(jax.tree.leaves, both)))
        return Outcome(losses, {name: float(value) for name, value in terms.items()}, apart)


if __name__ == "__main__":
    show(main())
