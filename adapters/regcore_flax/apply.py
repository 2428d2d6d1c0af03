"""Penalties in a Linen model that was written without them, by an interceptor of its modules' calls."""

import itertools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

import regcore
from regcore.sites import split

from . import outputs, weights
from .interceptor import Interceptor
from .linen import Mode, check_mode
from .recorded import COLLECTION
from .scales import Scales

_CALLS = itertools.count()


def regularized_init(model: nn.Module, rngs: Any, *args: Any, rules: weights.Rules, **options: Any) -> dict[str, Any]:
    """`model.init` with the learned parameters of `rules` among those of the modules where they apply.

    Those of BatchEntropy at "encoder" are `params["encoder"]["reg_alpha"]`: they train, are saved and restored with the
    rest. Where no penalty has learned parameters, `model.init` does as well.

        variables = regularized_init(model, jax.random.key(0), x, rules={"encoder": regcore.BatchEntropy()})

    Raises ValueError for a rule that matches nothing.
    """
    of_sites, of_weights = split(rules)
    interceptor = Interceptor(of_sites)
    with nn.intercept_methods(interceptor):
        variables = dict(model.init(rngs, *args, **options))
    interceptor.match()
    for owner, learned in weights.initial(variables.get("params", {}), of_weights):
        variables["params"] = weights.updated(variables["params"], owner, learned)
    return variables


def regularized_apply(
    model: nn.Module,
    variables: Mapping[str, Any],
    *args: Any,
    rules: weights.Rules,
    mode: Mode = "collect",
    coefficients: Mapping[str, Any] | None = None,
    loss_scale: Any = None,
    mutable: Any = (),
    select: outputs.Select | None = None,
    across: Any = regcore.Alone,
    step: Any = None,
    **options: Any,
) -> tuple[Any, dict[str, Any]]:
    """`model.apply` in training, with the penalties of `rules`: (output, state), of which `combine` makes the loss.

    Rules are {glob: spec}. Globs are over the dotted paths of modules, such as "encoder.layers_0", for what `__call__`
    gives, and after "weight:" over those of parameters, such as "weight:**.kernel"; `*` is any text within one
    component and `**` any number of components. Calls of one module add up, as do the layers of a scan. Of a tuple the
    first element that is an array is penalized; `select`, {glob of sites: function of the output}, takes another. The
    collection `penalties` of `variables` is dropped, so what the last step returned may be fed back. `across` is for a
    batch over several replicas; see `Replicas`. `step` is the number of the step, which penalties of weights need that
    count on some; see `regcore.Every`. Other `options` are those of `apply`. Evaluation calls `model.apply`.

        y, state = regularized_apply(model, variables, x, rules={"encoder.**": 0.1 * regcore.L1()})
        loss = combine(task_loss(y), state)

    In the mode "attach" the task loss is the whole loss: gradients are added in backward, times `loss_scale`, which is
    what the loss is multiplied by before it is differentiated; see `regcore.attach`. There `coefficients`, {glob of
    <site>/<term>: number or array}, replace the weights of the specs, and "penalties" in `mutable` records values.

    Raises ValueError for a rule or coefficient that matches nothing, a site that a lifted transform drops, learned
    parameters that are not there, and what the mode has no use for; TypeError for an output without an array. All of it
    while tracing.
    """
    check_mode(mode, loss_scale, coefficients)
    collections = {name: tree for name, tree in variables.items() if name != COLLECTION}
    of_sites, of_weights = split(rules)
    scales = Scales(coefficients, loss_scale) if mode == "attach" else None
    interceptor = Interceptor(of_sites, select, across, scales)
    if scales and of_weights:
        collections["params"] = weights.with_gradients(collections["params"], of_weights, scales, step)
    with nn.intercept_methods(interceptor):
        output, state = model.apply(collections, *args, mutable=_mutable(mutable, rules, mode), **options)
    state = dict(state)
    if scales:
        interceptor.match()
        scales.check()
        return output, state
    interceptor.check(state)
    if of_weights:
        state[COLLECTION] = {**state.get(COLLECTION, {}), **weights.recorded(collections["params"], of_weights, step)}
    return output, state


def _mutable(wanted: Any, rules: weights.Rules, mode: Mode) -> Any:
    """`wanted` and what the mode records in, with a name of this call.

    `nn.jit` keeps what it traced with the same mutable collections, and knows nothing of interceptors: without the name
    a model would get the penalties of earlier rules, or none. Scales are not in the rules, so no call that attaches may
    reuse the trace of another.
    """
    if wanted is True:
        return True
    names = [wanted] if isinstance(wanted, str) else [*(wanted or ())]
    if mode == "attach":
        return [*names, f"{COLLECTION} attached in call {next(_CALLS)}"]
    return [*names, COLLECTION, f"{COLLECTION} of {sorted((glob, repr(spec)) for glob, spec in rules.items())}"]
