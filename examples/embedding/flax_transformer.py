"""A Flax transformer as it is: AR and TAR on what blocks return. `python -m examples.embedding.flax_transformer`"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import regcore  # + import
import regcore_flax  # + import

from .data import sentences
from .outcome import Outcome, difference, show

WORDS, UNITS = 32, 24
RULES = {"Block_*": 0.1 * regcore.AR() + 0.1 * regcore.TAR(time_axis=1)}  # +


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(y, mask=nn.make_causal_mask(y[..., 0]))
        return x + nn.Dense(UNITS)(nn.gelu(nn.Dense(2 * UNITS)(nn.LayerNorm()(x))))


class LanguageModel(nn.Module):
    @nn.compact
    def __call__(self, words: jax.Array) -> jax.Array:
        x = nn.Embed(WORDS, UNITS)(words) + nn.Embed(16, UNITS)(jnp.arange(words.shape[1]))
        for _ in range(2):
            x = Block()(x)
        return nn.Dense(WORDS)(x)


def task(logits: jax.Array, words: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, words[:, 1:]).mean()


def loss(params: Any, words: jax.Array) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
    logits, state = regcore_flax.regularized_apply(LanguageModel(), {"params": params}, words[:, :-1], rules=RULES)  # +
    value = task(logits, words)
    return regcore_flax.combine(value, state), (value, regcore_flax.values(state))  # +


def by_hand(params: Any, words: jax.Array) -> jax.Array:
    logits, state = LanguageModel().apply({"params": params}, words[:, :-1], capture_intermediates=True)
    blocks = [state["intermediates"][name]["__call__"][0] for name in ("Block_0", "Block_1")]
    penalties = [0.1 * jnp.mean(x**2) + 0.1 * jnp.mean((x[:, 1:] - x[:, :-1]) ** 2) for x in blocks]
    return task(logits, words) + sum(penalties)


def main(steps: int = 20) -> Outcome:
    with jax.enable_x64(True):
        words = jnp.asarray(sentences(words=WORDS, number=16, length=13))
        params = jax.jit(LanguageModel().init)(jax.random.key(0), words[:, :-1])["params"]
        params = jax.tree.map(lambda array: array.astype(float), params)
        optimizer, losses = optax.adam(0.01), []

        @jax.jit
        def step(params: Any, state: optax.OptState) -> tuple[Any, ...]:
            gradients, (value, terms) = jax.grad(loss, has_aux=True)(params, words)
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(params, updates), state, value, terms, gradients

        state = jax.jit(optimizer.init)(params)
        for _ in range(steps):
            before, (params, state, value, terms, ours) = params, step(params, state)
            losses.append(float(value))
        both = ours, jax.jit(jax.grad(by_hand))(before, words)
        apart = difference(*map(jax.device_get, map(jax.tree.leaves, both)))
        return Outcome(losses, {name: float(value) for name, value in terms.items()}, apart)


if __name__ == "__main__":
    show(main())
