"""Penalties for a model as it is: forward hooks by name, and one handle for the loss."""

import functools
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import regcore

from .layer import Regularize


class Report(NamedTuple):
    """What happened to one term at one site."""

    fired: int  # values that the loss took
    value: float | None  # the last of them, unweighted
    coefficient: float
    reached: bool  # whether backward came through the last of them


def regularize(model: nn.Module, rules: Mapping[str, regcore.Penalty] | None = None) -> "Regularizer":
    """Record the penalties of the outputs of the modules that `rules` names, and of the `Regularize` layers in it.

    Rules are `{glob: spec}` over `model.named_modules()`, where `*` is one component and `**` any number. A module that
    returns a tuple, as recurrent layers do, is penalized for its first element. Give learned parameters to the
    optimizer: they are `reg.parameters()` for rules, and the model's own for layers.

        reg = regularize(model, {"encoder.*": 0.1 * regcore.L1(), "rnn": 2.0 * regcore.AR() + regcore.TAR(time_axis=0)})
        loss = reg.combine(task_loss)

    Raises ValueError for a glob that matches no module, and if there is nothing to regularize at all.
    """
    return Regularizer(model, rules or {})


class Regularizer(nn.Module):
    """What `regularize` returns: the sites, their learned parameters, the total, and the report."""

    def __init__(self, model: nn.Module, rules: Mapping[str, regcore.Penalty]) -> None:
        super().__init__()
        modules = dict(model.named_modules())
        layers = {path: module for path, module in modules.items() if isinstance(module, Regularize)}
        inside = tuple(f"{path}." for path in layers)
        chosen = regcore.select(rules, [path for path in modules if path and not f"{path}.".startswith(inside)])
        if not chosen and not layers:
            raise ValueError(
                "there is nothing to regularize: pass rules {glob: spec}, or put Regularize into the model"
            )
        hooked = {
            path: _like(model, Regularize(functools.reduce(operator.add, specs))) for path, specs in chosen.items()
        }
        self.sites = nn.ModuleDict({path.replace(".", "/"): site for path, site in hooked.items()})
        self._root = (model,)  # in a tuple, so that the model is no part of this module
        self._every = {**layers, **hooked}
        self._hooks = [modules[path].register_forward_hook(_Hook(path, site, model)) for path, site in hooked.items()]
        self._removed = False
        self._fired: dict[str, int] = {}
        self._last: dict[str, Tensor] = {}
        self._reached: set[str] = set()

    def combine(self, task: Tensor) -> Tensor:
        """`task * (1 + sum of coupled terms) + sum of added terms`, over all sites and calls since the last one.

        Returns `task` as it is in evaluation mode and without gradients, where nothing is recorded. Raises RuntimeError
        if a site recorded nothing, or recorded a value through which no gradient can flow.
        """
        if self._removed:
            raise RuntimeError(
                "this regularizer was removed from its model; call regularize(model, rules) for a new one"
            )
        if not self._root[0].training or not torch.is_grad_enabled():
            return task
        taken = {path: site.take() for path, site in self._every.items()}
        _refuse_lost(taken)
        terms = []
        for path, calls in taken.items():
            for term, *values in zip(self._every[path].terms, *calls, strict=True):
                value = functools.reduce(torch.add, values)
                self._note(f"{path}/{term.name}", len(values), value)
                terms.append((self._every[path].coefficient(term.name).to(value.dtype), value, term.coupled))
        return regcore.combine(task, terms)

    def report(self) -> dict[str, Report]:
        """What happened so far, by `<site>/<term>`."""
        return {
            name: Report(
                fired=self._fired.get(name, 0),
                value=float(self._last[name]) if name in self._last else None,
                coefficient=float(site.coefficient(term.name)),
                reached=name in self._reached,
            )
            for path, site in self._every.items()
            for term in site.terms
            for name in [f"{path}/{term.name}"]
        }

    def reset(self) -> None:
        """Drop what was recorded and not combined, such as after a forward pass that failed."""
        for site in self._every.values():
            site.take()

    def remove(self) -> None:
        """Take the hooks off the model. Layers stay in it, for another `regularize(model)`."""
        for hook in self._hooks:
            hook.remove()
        self.reset()
        self._removed = True

    def __enter__(self) -> "Regularizer":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def _note(self, name: str, calls: int, value: Tensor) -> None:
        self._fired[name] = self._fired.get(name, 0) + calls
        self._last[name] = value.detach()
        self._reached.discard(name)
        value.register_hook(lambda _: self._reached.add(name))


def _refuse_lost(taken: Mapping[str, list[tuple[Tensor, ...]]]) -> None:
    if silent := [path for path, calls in taken.items() if not calls]:
        raise RuntimeError(
            f"{silent} recorded no penalty since the last combine. Was the module called in this step, by module(x) "
            "and not by module.forward(x)? Was it regularized before the first call of a compiled model (if not, call "
            "torch._dynamo.reset())? Is it inside reentrant checkpointing (if so, pass use_reentrant=False)?"
        )
    if cut := [path for path, calls in taken.items() if not all(v.requires_grad for values in calls for v in values)]:
        raise RuntimeError(
            f"no gradient can flow through the penalty at {cut}: what it saw is detached. Are all parameters before it "
            "frozen, or is its input detached?"
        )


class _Hook:
    """Records the output of one module while the whole model trains; returning anything would replace that output."""

    def __init__(self, path: str, site: Regularize, root: nn.Module) -> None:
        self.path, self.site, self.root = path, site, root

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.root.training and torch.is_grad_enabled():
            self.site.record(self._tensor(output))

    def _tensor(self, output: Any) -> Tensor:
        first = output[0] if isinstance(output, tuple) and not isinstance(output, PackedSequence) else output
        if not isinstance(first, Tensor):
            raise TypeError(
                f"{self.path!r} returned {type(output).__name__}; expected a tensor or a tuple that starts with one: "
                "put a Regularize layer where the tensor is"
            )
        return first


def _like(model: nn.Module, site: Regularize) -> Regularize:
    """On the device of the model, and in float64 for a float64 model."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if first is not None:
        site.to(first.device, torch.float64 if first.dtype == torch.float64 else torch.float32)
        for term in site.terms:
            site.set_coefficient(term.name, term.weight)  # again, in the new dtype
    return site
