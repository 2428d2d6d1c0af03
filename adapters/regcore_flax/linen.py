"""Penalties in the Linen collection `penalties`, which describes itself: value, weight, and how each joins the loss."""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

import regcore

COLLECTION = "penalties"


@flax.struct.dataclass
class Recorded:
    """One value of one term, as sown. Under `nn.scan` and `nn.vmap` its arrays have a leading axis."""

    value: jax.Array
    weight: jax.Array
    coupled: bool = flax.struct.field(pytree_node=False)


class Regularize(nn.Module):
    """Identity; where the collection `penalties` is mutable it sows each term of `spec` for what passes.

    Training passes `mutable=["penalties"]` to `apply`, evaluation does not. Learned parameters are parameters of the
    module, in the collection `params`. What the penalty needs beside `x`, such as labels, is passed by keyword. Inside
    `nn.scan` and `nn.vmap`, give the collection to `variable_axes`, without which they drop it.

        x = Regularize(0.1 * regcore.L1())(nn.Dense(8)(x))
    """

    spec: regcore.Penalty

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None, **inputs: jax.Array) -> jax.Array:
        params = {
            name: self.param(name, lambda _, initial=initial: jnp.asarray(initial))
            for name, initial in self.spec.init().items()
        }
        params.update(inputs)
        if self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            for term in self.spec.terms():
                value = regcore.value(term.spec, x, term.select(params), mask=mask)
                weight = jnp.asarray(term.weight, dtype=value.dtype)
                self.sow(COLLECTION, term.name, Recorded(value, weight, term.coupled))
        return x


def combine(
    task: jax.Array,
    state: Mapping[str, Any],
    *,
    coefficients: Mapping[str, Any] | None = None,
    expect: Iterable[str] = (),
) -> jax.Array:
    """`task * (1 + sum of coupled terms) + sum of added terms`, over all sites and calls in the state of `apply`.

    `coefficients`, {glob of <site>/<term>: number or array}, replace the weights of the spec; as arguments of a jitted
    function they change without a new trace. `expect` lists globs of sites, each of which must have recorded something.

        y, state = model.apply(variables, x, mutable=["penalties"])
        loss = combine(task_loss(y), state)

    Raises ValueError if nothing was recorded, if an expected site is not there, or if a glob matches nothing.
    """
    recorded = _recorded(state)
    if not recorded:
        raise ValueError(
            'the collection "penalties" is empty: pass mutable=["penalties"] to apply, give it to variable_axes in '
            "nn.scan and nn.vmap, and check that the model has a Regularize module"
        )
    sites = {name.split("/")[0] for name in recorded}
    for glob in expect:
        if not any(regcore.match({glob: True}, site) for site in sites):
            raise ValueError(
                f"{glob!r} recorded no penalty, so it would be lost; sites that did: {sorted(sites)}. Is the "
                'collection "penalties" missing in variable_axes of nn.scan or nn.vmap?'
            )
    replaced = regcore.select(coefficients or {}, recorded)
    terms = []
    for name, calls in recorded.items():
        weights = [call.weight for call in calls] if name not in replaced else [replaced[name][-1]] * len(calls)
        total = sum(jnp.sum(weight * call.value) for weight, call in zip(weights, calls, strict=True))
        terms.append((1.0, total, calls[0].coupled))
    return regcore.combine(task, terms)


def report(state: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The unweighted value of each term, by `<site>/<term>`, summed over calls."""
    return {
        name: jnp.sum(jnp.stack([jnp.sum(call.value) for call in calls])) for name, calls in _recorded(state).items()
    }


def _recorded(state: Mapping[str, Any]) -> dict[str, list[Recorded]]:
    recorded: dict[str, list[Recorded]] = {}
    leaves = jax.tree_util.tree_leaves_with_path(
        state.get(COLLECTION, {}), is_leaf=lambda leaf: isinstance(leaf, Recorded)
    )
    for path, leaf in leaves:
        *site, term = (key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        recorded.setdefault(f"{'.'.join(site)}/{term}", []).append(leaf)
    return recorded
