"""What a term leaves in the collection `penalties`, the total of it, and what it says to a reader."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import regcore

COLLECTION = "penalties"

State = Mapping[str, Any]  # what `apply` returns beside its output
Params = Mapping[str, jax.Array]  # learned parameters and inputs beside x, by name


STATIC = {"static": True}  # part of the structure, for JAX, and no array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recorded:
    """One value of one term. Under `nn.scan` and `nn.vmap` its arrays have a leading axis."""

    value: jax.Array
    weight: jax.Array
    term: regcore.Term = dataclasses.field(metadata=STATIC)
    attached: bool = dataclasses.field(default=False, metadata=STATIC)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Report:
    """One term in one step: its unweighted value summed over calls, its coefficient, and how often it fired.

    `attached` says that its gradient was added in backward, so that it is no part of what `combine` gives.
    """

    value: jax.Array
    coefficient: jax.Array
    calls: int = dataclasses.field(metadata=STATIC)
    attached: bool = dataclasses.field(metadata=STATIC)


def record(spec: regcore.Penalty, x: jax.Array, params: Params, **options: Any) -> dict[str, Recorded]:
    """What each term of `spec` has to say about `x`; `options` are those of `regcore.value`."""
    return {
        term.name: recorded_value(term, regcore.value(term.spec, x, term.select(params), **options))
        for term in spec.terms()
    }


def recorded_value(term: regcore.Term, value: jax.Array) -> Recorded:
    return Recorded(value, jnp.asarray(term.weight, value.dtype), term)


def attach(spec: regcore.Penalty, x: jax.Array, params: Params, scales: Mapping[str, Any], **options: Any) -> jax.Array:
    """`x` with the gradient of each term attached, times `scales[term]`; `options` are those of `regcore.attach`."""
    for term in spec.terms():
        x = attach_term(term, x, params, scales[term.name], **options)
    return x


def attach_term(term: regcore.Term, x: jax.Array, params: Params, scale: Any, **options: Any) -> jax.Array:
    one = regcore.coupled(term.spec) if term.coupled else regcore.added(term.spec)
    return regcore.attach(one, x, term.select(params), scale=scale, **options)


def attached(recorded: Mapping[str, Recorded]) -> dict[str, Recorded]:
    """The same terms, for logging alone: their gradient goes another way."""
    return {
        name: dataclasses.replace(one, attached=True, value=jax.lax.stop_gradient(one.value))
        for name, one in recorded.items()
    }


def combine(
    task: jax.Array,
    state: State,
    *,
    coefficients: Mapping[str, Any] | None = None,
    expect: Iterable[str] = (),
) -> jax.Array:
    """`task * (1 + sum of coupled terms) + sum of added terms`, over all sites and calls in the state of `apply`.

    `coefficients`, {glob of <site>/<term>: number or array}, replace the weights of the spec; as arguments of a jitted
    function they change without a new trace. `expect` lists globs of sites, each of which must have recorded something.
    Terms that are attached are not added again.

        y, state = model.apply(variables, x, mutable=["penalties"])
        loss = combine(task_loss(y), state)

    Raises ValueError if nothing was recorded, if an expected site is not there, or if a glob matches nothing.
    """
    recorded = by_name(state)
    if not recorded:
        raise ValueError(
            'the collection "penalties" is empty: pass mutable=["penalties"] to apply, give it to variable_axes in '
            "nn.scan and nn.vmap, and check that the model has a Regularize module. Where penalties are attached, "
            "the task loss is the whole loss"
        )
    _check_expected(expect, {name.split("/")[0] for name in recorded})
    terms = []
    for calls in with_coefficients(recorded, coefficients).values():
        if not calls[0].attached:
            total = jnp.sum(jnp.stack([jnp.sum(call.weight * call.value) for call in calls]))
            terms.append((float(calls[0].term.every), total, calls[0].term.coupled))
    return regcore.combine(task, terms)


def values(state: State) -> dict[str, jax.Array]:
    """The unweighted value of each term, by `<site>/<term>`, summed over calls: what a training loop logs."""
    return {name: row.value for name, row in report(state).items()}


def report(state: State, *, coefficients: Mapping[str, Any] | None = None) -> dict[str, Report]:
    """For each `<site>/<term>`: how often it fired, its value, and the coefficient that it has in the loss.

    Rows are pytrees, so a jitted step can return them. `coefficients` are those that `combine` is given.
    """
    return {name: _row(calls) for name, calls in with_coefficients(by_name(state), coefficients).items()}


def by_name(state: State) -> dict[str, list[Recorded]]:
    """The calls of each term, by `<site>/<term>`."""
    recorded: dict[str, list[Recorded]] = {}
    leaves = jax.tree_util.tree_leaves_with_path(
        state.get(COLLECTION, {}), is_leaf=lambda leaf: isinstance(leaf, Recorded)
    )
    for path, leaf in leaves:
        *site, _ = (key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        recorded.setdefault(f"{'.'.join(site)}/{leaf.term.name}", []).append(leaf)
    return recorded


def with_coefficients(
    recorded: Mapping[str, list[Recorded]], coefficients: Mapping[str, Any] | None
) -> dict[str, list[Recorded]]:
    """The same with the weights replaced; the last glob that matches a name counts."""
    replaced = regcore.select(coefficients or {}, recorded)
    return {
        name: [dataclasses.replace(call, weight=replaced[name][-1]) if name in replaced else call for call in calls]
        for name, calls in recorded.items()
    }


def _check_expected(expect: Iterable[str], sites: set[str]) -> None:
    for glob in expect:
        if not any(regcore.match({glob: True}, site) for site in sites):
            raise ValueError(
                f"{glob!r} recorded no penalty, so it would be lost; sites that did: {sorted(sites)}. Is the "
                'collection "penalties" missing in variable_axes of nn.scan or nn.vmap?'
            )


def _row(calls: list[Recorded]) -> Report:
    return Report(
        value=jnp.sum(jnp.stack([jnp.sum(call.value) for call in calls])),
        coefficient=jnp.ravel(jnp.asarray(calls[0].weight))[0],
        calls=sum(call.value.size for call in calls),
        attached=calls[0].attached,
    )
