"""Rules for parameters, `weight:<glob>`, beside those for what modules give out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import regcore
from regcore.sites import WEIGHT, choose

from .recorded import Params, Recorded, attach, record

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


def recorded(params: Tree, rules: Rules) -> dict[str, dict[str, tuple[Recorded, ...]]]:
    """What each term of each rule has to say about the weights, by site."""
    return {
        (site := _site(owner, name)): {
            term: (one,) for term, one in record(spec, weight, _learned(params, owner, name, spec, site)).items()
        }
        for owner, name, spec, weight in _each(params, rules)
    }


def with_gradients(params: Tree, rules: Rules, scales: Callable[[str, regcore.Penalty], Mapping[str, Any]]) -> Tree:
    """`params` with the gradient of each rule attached to its weights; `scales` has a scale for each term of a site."""
    for owner, name, spec, weight in _each(params, rules):
        site = _site(owner, name)
        own = _learned(params, owner, name, spec, site)
        params = updated(params, owner, {name: attach(spec, weight, own, scales(site, spec))})
    return params


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
