"""The handle of a regularized model: the total loss, and the report of what every penalty was."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import regcore
from regcore.report import Report, problems

from .checks import Steps, refuse_apart, refuse_lost
from .hooks import Watch, observed
from .layer import Regularize, Values
from .record import Record
from .scale import publish
from .sites import Weight

CALLS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "sum": lambda values: functools.reduce(torch.add, values),
    "mean": lambda values: functools.reduce(torch.add, values) / len(values),
    "last": lambda values: values[-1],
}


class Regularizer(nn.Module):
    """What `regularize` returns: the sites, their learned parameters, the total, and the report."""

    def __init__(
        self,
        watch: Watch,
        own: Mapping[str, Regularize],
        layers: Mapping[str, Regularize],
        weights: Mapping[str, Weight],
        calls: str,
        on_missing: str,
    ) -> None:
        super().__init__()
        self.sites = nn.ModuleDict({_key(path): site for path, site in own.items()})
        self.hooks: list[Any] = []
        self._watch, self._weights, self._calls, self._on_missing = watch, weights, calls, on_missing
        self._every = {**layers, **own}
        self._loss_scale = next(iter(self._every.values())).loss_scale.clone()
        learned = {f"{path}/{name}": p for path, site in self._every.items() for name, p in site.params.items()}
        self._steps = Steps(watch.root, learned)
        self._record = Record(self._every, watch.backward_came)
        self._ended = ""  # why it is of no use any more
        for site in self._every.values():
            site.loss_scale, site.train_only = self._loss_scale, watch.train_only

    @property
    def root(self) -> nn.Module:
        """The model, which is no part of this module."""
        return self._watch.root

    def forward(self, x: Any) -> Any:
        """Identity, for a Sequential on which it is registered."""
        return x

    def combine(self, task: Tensor, *, micro_batches: int = 1) -> Tensor:
        """`task * (1 + sum of coupled terms) + sum of added terms`, over all sites and calls since the last one.

        Returns `task` as it is where nothing is recorded, in evaluation mode and without gradients. Give
        `micro_batches` where a trainer adds up that many losses without dividing by their number: what is added is
        divided by it.

        Raises RuntimeError if a site recorded nothing, or recorded a value through which no gradient can flow, and
        ValueError for a loss that is no scalar where gradients are attached. Warns if the optimizer made a step since
        the last call without the gradient of a term, or without a learned parameter.
        """
        training = self._watch.root.training
        if self._watch.train_only and not (training and torch.is_grad_enabled()):
            return task
        if self._ended:
            raise RuntimeError(f"{self._ended}; call regularize(model, rules) for a new one")
        refuse_apart(self._watch.root, self.sites)
        self._steps.heed(self._record.unreached())
        calls = self._watch.passes.take(task, training)
        calls.update({path: [self._weigh(path)] for path in self._weights})
        attached = {path for path, site in self._every.items() if site.mode == "attach"}
        unseen = attached if self._watch.passes.compiled else set()
        self._record.expect([path for path in self._every if calls.get(path) or path in unseen])
        refuse_lost({path: calls[path] for path in calls if path not in unseen}, self._on_missing, attached)
        total = regcore.combine(task, self._terms(calls, micro_batches))
        return publish(total, self._loss_scale, micro_batches) if attached and total.requires_grad else total

    def terms(self) -> dict[str, Tensor]:
        """The unweighted, detached value of each term in the last combine, by `<site>/<term>`."""
        return dict(self._record.last)

    def report(self) -> dict[str, Report]:
        """What happened so far, by `<site>/<term>`. Of what is attached in compiled code, only what backward tells."""
        return self._record.report()

    def check(self) -> None:
        """Raise RuntimeError for every term that had no effect so far. Call it after backward, once or now and then."""
        if found := problems(self.report()):
            raise RuntimeError("; ".join(found))

    def set_coefficient(self, glob: str, coefficient: float) -> None:
        """Weigh anew the terms `<site>/<term>` that match, also after torch.compile. ValueError if none does."""
        for name in regcore.select({glob: coefficient}, self._record.names):
            path, term = self._record.names[name]
            self._every[path].set_coefficient(term, coefficient)

    def register_on(self, model: nn.Module, name: str = "regcore") -> None:
        """Make this a submodule, so that learned parameters are among the model's: in state_dict, `.to` and DDP.

        Do it before you make the optimizer and wrap the model. A checkpoint of the model without it then lacks them.
        """
        model.add_module(name, self)

    def reset(self) -> None:
        """Drop what was recorded and not combined."""
        self._watch.passes.drop()

    def remove(self) -> None:
        """Take the hooks off the model. Layers stay in it, for another `regularize(model)`."""
        for hook in self.hooks:
            hook.remove()
        self.reset()
        self._ended = "this regularizer was removed from its model"

    def __enter__(self) -> "Regularizer":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def __getstate__(self) -> dict[str, Any]:
        """A copy, in a copy of the model, is no part of any loss."""
        ended = "this regularizer is a copy, whose model has no hooks"
        return {**self.__dict__, "hooks": [], "_ended": ended}

    def _terms(self, calls: Mapping[str, list[Values]], micro_batches: int) -> list[tuple[Tensor, Tensor, bool]]:
        terms = []
        for path, values in calls.items():
            site = self._every[path]
            for term, *ofterm in zip(site.terms, *values, strict=True) if values else ():
                value = CALLS[self._calls](ofterm)
                self._record.note(path, term.name, len(ofterm), value)
                if site.mode == "collect":
                    weight = site.coefficient(term.name).to(value.dtype)
                    divided = weight if term.coupled or micro_batches == 1 else weight / micro_batches
                    terms.append((divided, value, term.coupled))
        return terms

    def _weigh(self, path: str) -> Values:
        site = self._every[path]
        try:
            weight = self._weights[path].read()
        except ValueError as error:
            raise ValueError(f"at {path!r}: {error}") from None
        observed(path, site, weight)
        (values,) = site.take()
        return tuple([getattr(value, "full_tensor", lambda value=value: value)() for value in values])  # of a DTensor


def _key(path: str) -> str:
    """A name for a submodule, which has no dots and is no attribute of ModuleDict."""
    key = path.replace(".", "/")
    return f"{key}/" if key in dir(nn.ModuleDict) else key
