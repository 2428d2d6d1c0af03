"""Rules for parameters, `weight:<glob>`, beside those for what modules give out."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import regcore
from regcore.sites import WEIGHT, choose

from .recorded import Params, Recorded, attach_term, recorded_value

LEARNED = "reg_"  # before the names of learned parameters that live among those of a model

Rules = Mapping[str, regcore.Penalty]
Tree = Any  # nested dicts of arrays


def one(specs: Sequence[regcore.Penalty]) -> regcore.Penalty:
    """The sum of what several rules have for a site."""
    return sum(specs[1:], start=specs[0])


def learned(spec: regcore.Penalty, owned: Params, site: str, prefix: str = LEARNED) -> dict[str, jax.Array]:
    """The learned parameters of `spec` among those of a module. ValueError for those that are not there."""
    if missing := [prefix + name for name in spec.shapes() if prefix + name not in owned]:
        raise ValueError(
            f"{spec} at {site!r} has learned parameters, and there are none named {missing} beside those of the model: "
            "create them with regularized_init (NNX: regularize), and give them to the optimizer and the checkpoint"
        )
    return {name: owned[prefix + name] for name in spec.shapes()}


def initial(params: Tree, rules: Rules) -> Iterator[tuple[tuple[Any, ...], dict[str, jax.Array]]]:
    """The learned parameters that rules for weights start from, by the path of the module that has the weight."""
    for owner, name, spec, _ in _each(params, rules):
        yield owner, {_prefix(name) + key: jnp.asarray(array) for key, array in spec.init().items()}


def recorded(params: Tree, rules: Rules, step: Any) -> dict[str, dict[str, tuple[Recorded, ...]]]:
    """What each term of each rule has to say about the weights, by site: 0 on the steps on which it does not count."""
    found: dict[str, dict[str, tuple[Recorded, ...]]] = {}
    for owner, name, spec, weight in _each(params, rules):
        site = _site(owner, name)
        own = _learned(params, owner, name, spec, site)
        zero = jnp.zeros((), jnp.promote_types(weight.dtype, jnp.float32))
        for term in spec.terms():
            value = functools.partial(regcore.value, term.spec, weight, term.select(own))
            found.setdefault(site, {})[term.name] = (recorded_value(term, _when_due(term, step, value, zero)),)
    return found


def with_gradients(
    params: Tree, rules: Rules, scales: Callable[[str, regcore.Penalty], Mapping[str, Any]], step: Any
) -> Tree:
    """`params` with the gradient of each rule attached to its weights; `scales` has a scale for each term of a site."""
    for owner, name, spec, weight in _each(params, rules):
        site = _site(owner, name)
        own, of = _learned(params, owner, name, spec, site), scales(site, spec)
        for term in spec.terms():
            attached = functools.partial(attach_term, term, weight, own, term.every * of[term.name])
            weight = _when_due(term, step, attached, weight)
        params = updated(params, owner, {name: weight})
    return params


def _when_due(term: regcore.Term, step: Any, compute: Callable[[], jax.Array], otherwise: jax.Array) -> jax.Array:
    """`compute()` on the steps on which a term counts, and `otherwise` in between, where it costs nothing."""
    if term.every == 1:
        return compute()
    if step is None:
        raise ValueError(
            f"{term.name} counts on every {term.every}th step: pass step=, the number of the step, which may be traced"
        )
    return jax.lax.cond(step % term.every == 0, compute, lambda: otherwise)


def updated(tree: Tree, owner: tuple[Any, ...], new: Mapping[str, Any]) -> Tree:
    """`tree` with `new` in the dict at the path `owner`."""
    if not owner:
        return {**tree, **new}
    return {**tree, owner[0]: updated(tree[owner[0]], owner[1:], new)}


def _each(params: Tree, rules: Rules) -> Iterator[tuple[tuple[Any, ...], str, regcore.Penalty, jax.Array]]:
    leaves = {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    sites = {".".join(map(str, path)): path for path in leaves if not str(path[-1]).startswith(LEARNED)}
    for site, spec in choose(rules, sites).items():
        *owner, name = sites[site]
        yield tuple(owner), name, spec, leaves[sites[site]]


def _site(owner: tuple[Any, ...], name: str) -> str:
    return WEIGHT + ".".join(map(str, (*owner, name)))


def _prefix(name: str) -> str:
    return f"{LEARNED}{name}_"


def _learned(params: Tree, owner: tuple[Any, ...], name: str, spec: regcore.Penalty, site: str) -> dict[str, Any]:
    for key in owner:
        params = params[key]
    return learned(spec, params, site, _prefix(name))
