"""Penalties for a model as it is: by the names of its modules and weights."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import regcore
from regcore.sites import WEIGHT

from .hooks import After, Before, OnSite, Watch
from .layer import Regularize
from .outputs import Select
from .passes import Passes
from .regularizer import CALLS, Regularizer
from .sites import named, resolve


def regularize(
    model: nn.Module,
    rules: Mapping[str, regcore.Penalty] | None = None,
    *,
    select: Select | Mapping[str, Select] = None,
    mask: Callable[..., Tensor | None] | None = None,
    train_only: bool = True,
    mode: str = "collect",
    calls: str = "sum",
    on_missing: str = "error",
    clone: bool | None = None,
    across: Any = regcore.Alone,
    together: bool = True,
) -> Regularizer:
    """Regularize the outputs of the modules and the weights that `rules` name, and the `Regularize` layers of a model.

    Rules are `{glob: spec}` over `model.named_modules()`, or `{"weight:" + glob: spec}` over its parameters, where `*`
    is one component and `**` any number. A weight is the one that the module uses, after parametrizations, and counts
    once if it is tied. Give learned parameters to the optimizer: they are `reg.parameters()` for rules, and the model's
    own for layers.

        reg = regularize(model, {"encoder.*": 0.1 * regcore.L1(), "weight:decoder.weight": regcore.Orthogonality()})
        loss = reg.combine(task_loss)

    select:     which tensor of an output: an index, a key, a function of the output, or `{glob: one of these}`. Without
                it, the output itself or the first of a tuple. A packed sequence is padded, and the padding masked.
    mask:       a function of the arguments of the model that gives a boolean mask of what counts, or None
    train_only: False counts evaluation as well, also without gradients
    mode:       "collect" for values that `combine` adds to the loss; "attach" for gradients that are added in backward,
                which works under every kind of checkpointing, and for no term that multiplies the task loss
    calls:      of several calls of a module before the loss, the "sum", the "mean" or the "last"
    on_missing: what `combine` does about a site that recorded nothing: "error", "warn", "ignore"
    clone:      whether to keep a copy of what is penalized, because the model changes it in place afterwards; by
                default if a module of the model has `inplace=True`
    across:     sums statistics of a batch over replicas, such as `AllReduce()`
    together:   whether sites with equal penalties and shapes are evaluated together, when the loss is combined, as one
                node of the graph; see docs/pytorch.md for what is evaluated in the hook all the same

    Raises ValueError for a glob that matches nothing, for a penalty that needs inputs beside `x`, for a penalty that
    multiplies the task loss where gradients are attached, and if there is nothing to regularize at all.
    """
    for name, got, known in (("calls", calls, CALLS), ("on_missing", on_missing, ("error", "warn", "ignore"))):
        if got not in known:
            raise ValueError(f"got {name}={got!r}; expected one of {sorted(known)}")
    modules = _outside(named(model), Regularizer)
    layers = {path: module for path, module in modules.items() if isinstance(module, Regularize)}
    sites = resolve(rules or {}, _outside(modules, Regularize))
    if not sites.outputs and not sites.weights and not layers:
        raise ValueError("there is nothing to regularize: pass rules {glob: spec}, or put Regularize into the model")
    hooked = {path: Regularize(spec, mode=mode, across=across) for path, spec in sites.outputs.items()}
    weighed = {f"{WEIGHT}{path}": Regularize(spec) for path, spec in sites.weights.items()}
    for site in (*hooked.values(), *weighed.values()):
        _like(model, site)
    selects = _selects(select, hooked, mode)
    clone = any(getattr(m, "inplace", False) for m in modules.values()) if clone is None else clone
    watch = Watch(modules[""], Passes({**layers, **hooked}), train_only, mask)
    weights = {f"{WEIGHT}{path}": sites.weight[path] for path in sites.weights}
    reg = Regularizer(watch, {**hooked, **weighed}, layers, weights, calls, on_missing, together)
    reg.hooks = [
        modules[path].register_forward_hook(OnSite(path, site, watch, selects.get(path), clone))
        for path, site in hooked.items()
    ]
    reg.hooks.append(modules[""].register_forward_pre_hook(Before(watch), with_kwargs=True))
    reg.hooks.append(modules[""].register_forward_hook(After(watch)))
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # code that was compiled without hooks would be used again, also for other instances
    return reg


def _outside(modules: Mapping[str, nn.Module], kind: type) -> dict[str, nn.Module]:
    """Modules that are none of ours, nor in one."""
    ours = tuple([f"{path}." for path, module in modules.items() if isinstance(module, kind)])
    return {path: module for path, module in modules.items() if not f"{path}.".startswith(ours)}


def _selects(select: Select | Mapping[str, Select], hooked: Mapping[str, Any], mode: str) -> dict[str, Select]:
    globs = select if isinstance(select, Mapping) else {"**": select}
    found = {path: ones[-1] for path, ones in regcore.select(globs, hooked).items()} if hooked else {}
    if mode == "attach" and any(callable(one) for one in found.values()):
        raise ValueError(
            "got a function as select= with mode='attach', which must put a tensor back where it was: use an index or "
            "a key, or collect"
        )
    return found


def _like(model: nn.Module, site: Regularize) -> None:
    """On the device of the model, and in float64 for a float64 model."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is None:
        return
    dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
    site.to(first.device, dtype)
    site.loss_scale = site.loss_scale.to(first.device, dtype)
    site.counter = torch.zeros((), device=first.device, requires_grad=True)
    for term in site.terms:
        site.set_coefficient(term.name, term.weight)  # again, in the new dtype
