"""Whether the gradient of each term reaches the parameters of the model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import regcore
from regcore.sites import WEIGHT

from .recorded import State, by_name, values
from .weights import LEARNED


def gradient_report(collect: Callable[[Any], State], params: Any) -> dict[str, dict[str, float]]:
    """For each `<site>/<term>`, the norm of its gradient by each parameter of the model that it reaches.

    `collect` gives, for a tree of parameters, the state of `apply` in the mode "collect". Call it before training and
    outside of `jax.jit`: it differentiates each term alone. Terms are unweighted: whether a coefficient is 0 is in
    `report`. The learned parameters of a penalty itself do not count.

        gradient_report(lambda params: model.apply({"params": params}, x, mutable=["penalties"])[1], params)

    Raises ValueError that names the terms whose gradient is 0 by every parameter: the activation is detached, its units
    are dead, or the penalty is flat at these data.
    """
    found, pull, state = jax.vjp(lambda params: (values(state := collect(params)), state), params, has_aux=True)
    if not found or any(calls[0].attached for calls in by_name(state).values()):
        raise ValueError(f'collect gave the terms {sorted(found)}; expected some, and in the mode "collect"')
    norms = {}
    for name, calls in by_name(state).items():
        (slopes,) = pull({other: jnp.where(other == name, jnp.ones_like(one), 0) for other, one in found.items()})
        norms[name] = _norms(slopes, _own(name.partition("/")[0], calls[0].term))
    if lost := sorted(name for name, reached in norms.items() if not reached):
        raise ValueError(
            f"no gradient of {lost} reaches a parameter of the model, so they train nothing: is the activation "
            "detached by stop_gradient, are its units dead, or is the penalty flat at these data?"
        )
    return norms


def _norms(slopes: Any, own: set[str]) -> dict[str, float]:
    leaves = jax.tree_util.tree_leaves_with_path(slopes)
    named = ((jax.tree_util.keystr(path, simple=True, separator="."), jnp.ravel(slope)) for path, slope in leaves)
    return {name: norm for name, slope in named if name not in own and (norm := float(jnp.linalg.norm(slope))) != 0}


def _own(site: str, term: regcore.Term) -> set[str]:
    """Where the learned parameters of a term are: in its own module, among a module's, or beside a weight."""
    names = [term.prefix + name for name in term.penalty.shapes()]
    if site.startswith(WEIGHT):
        return {f"{_owner(site)}{LEARNED}{site.rpartition('.')[2]}_{name}" for name in names}
    return {".".join(filter(None, (site, prefix + name))) for name in names for prefix in ("", LEARNED)}


def _owner(site: str) -> str:
    owner = site.removeprefix(WEIGHT).rpartition(".")[0]
    return f"{owner}." if owner else ""
