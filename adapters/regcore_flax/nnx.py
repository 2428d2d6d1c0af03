"""Penalties in NNX models: a module to put into them, and calls of a model that was written without it."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

import regcore
from regcore.sites import choose, split

from . import outputs, weights
from .capture import Tap, called, modules_of, replaced_params, tapped
from .linen import Mode, check_mode
from .nnx_layer import Regularize, recording
from .recorded import COLLECTION
from .scales import Scales

__all__ = ["Regularize", "Regularizer", "regularize"]

_CALLS = itertools.count()


def regularize(
    model: nnx.Module,
    rules: weights.Rules,
    *,
    mode: Mode = "collect",
    select: outputs.Select | None = None,
    across: Any = regcore.Alone,
) -> "Regularizer":
    """What calls `model` with the penalties of `rules`; their learned parameters become `nnx.Param`s of the model.

    Rules, modes and options are those of `regcore_flax.regularized_apply`; a module that is in several places of the
    model has the first of its paths. Make the optimizer after this call, so that it has the learned parameters. Those
    of BatchEntropy at "encoder" are `model.encoder.reg_alpha`; one that is there already is kept.

        reg = regularize(model, {"layers.*": 0.1 * regcore.L1()})

        @nnx.jit
        def step(model, optimizer, x):
            def loss(model):
                y, state = reg(model, x)
                return combine(task_loss(y), state)

    Raises ValueError for a rule that matches nothing.
    """
    check_mode(mode, None)
    modules = modules_of(model)
    of_sites, of_weights = split(rules)
    initial = [
        (site, {weights.LEARNED + name: jnp.asarray(array) for name, array in spec.init().items()})
        for site, spec in choose(of_sites, modules).items()
    ]
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    initial += [(".".join(map(str, owner)), new) for owner, new in weights.initial(params, of_weights)]
    for site, arrays in initial:
        for name, array in arrays.items():
            if name not in vars(modules[site]):
                setattr(modules[site], name, nnx.Param(array))
    return Regularizer(dict(rules), mode, dict(select or {}), across)


@dataclasses.dataclass(frozen=True)
class Regularizer:
    """Calls a model, or a copy of it, with penalties: `regularizer(model, *args)` is (output, state for `combine`).

    It changes nothing in the model, so neither `nnx.jit` nor `jax.jit` with `nnx.split` traces a second time. Calls
    without it are evaluation.
    """

    rules: weights.Rules
    mode: Mode
    select: outputs.Select
    across: Any

    def __call__(
        self,
        model: nnx.Module,
        *args: Any,
        method: str = "__call__",
        coefficients: Mapping[str, Any] | None = None,
        loss_scale: Any = None,
        step: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Raises as `regcore_flax.regularized_apply` does, and ValueError for a site that was not called."""
        check_mode(self.mode, loss_scale, coefficients)
        of_sites, of_weights = split(self.rules)
        scales = Scales(coefficients, loss_scale) if self.mode == "attach" else None
        modules, fired = modules_of(model), set[str]()
        taps = self._taps(choose(of_sites, modules), scales, fired)
        regcore.select(self.select, taps)
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        with contextlib.ExitStack() as changed:
            if scales and of_weights:
                changed.enter_context(replaced_params(model, weights.with_gradients(params, of_weights, scales, step)))
            changed.enter_context(tapped(modules, taps))
            for layer in (module for module in modules.values() if isinstance(module, Regularize)):
                changed.enter_context(recording(layer))
            output, found = called(model, method, args, kwargs)
        _check_fired(taps, fired, found)
        if scales:
            scales.check()
        elif of_weights:
            found |= weights.recorded(params, of_weights, step)
        return output, {COLLECTION: found}

    def _taps(self, specs: weights.Rules, scales: Scales | None, fired: set[str]) -> dict[str, Tap]:
        call = None if scales is None else next(_CALLS)
        select = tuple(self.select.items())
        return {
            site: Tap(site, spec, select, self.across, call, scales(site, spec) if scales else {}, fired)
            for site, spec in specs.items()
        }


def _check_fired(taps: Mapping[str, Tap], fired: set[str], found: Mapping[str, Any]) -> None:
    """A trace that `nnx.jit` kept fires nothing, and gives what it recorded; one that attaches is not kept."""
    if missing := sorted(taps.keys() - fired - found.keys()):
        raise ValueError(
            f"{missing} were not called, so their penalties would be lost: a site is a module whose __call__ runs. "
            "Name the module around it, or leave the rule out"
        )
    lost = sorted(site for site in fired - found.keys() if taps[site].attaching is None)
    if lost:
        raise ValueError(
            f"the penalties of {lost} were recorded in a transform that dropped them: let its out_axes keep every "
            'variable of the module, or use mode="attach"'
        )
