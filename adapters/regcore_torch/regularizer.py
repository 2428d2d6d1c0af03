"""The handle of a regularized model: the total loss, and the report of what every penalty was."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import regcore
from regcore.report import Report, problems

from .checks import Steps, refuse_apart, refuse_lost
from .groups import Call, Row, Seen, evaluated, grouped
from .hooks import Watch, observed
from .layer import Regularize
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
        together: bool,
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
        self._combined = 0  # times
        terms = {path: self._every[path].terms for path in weights}
        self._sparse = {path: of for path, of in terms.items() if any(term.every > 1 for term in of)}
        for site in self._every.values():
            site.loss_scale, site.train_only = self._loss_scale, watch.train_only
            site.kind = None
        if together:
            _number(self._every)

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
        calls.update({path: [self._weigh(path)] for path in self._weights if path not in self._sparse})
        sparse = [row for path, terms in self._sparse.items() for row in self._weigh_some(path, terms)]
        attached = {path for path, site in self._every.items() if site.mode == "attach"}
        unseen = attached if self._watch.passes.compiled else set()
        self._record.expect([path for path in self._every if calls.get(path) or path in unseen], sparse)
        refuse_lost({path: calls[path] for path in calls if path not in unseen}, self._on_missing, attached)
        self._combined += 1
        total = regcore.combine(task, self._terms([*self._rows(calls), *sparse], micro_batches))
        return publish(total, self._loss_scale, micro_batches) if attached and total.requires_grad else total

    def terms(self) -> dict[str, Tensor]:
        """The unweighted, detached value of each term in the last combine, by `<site>/<term>`."""
        return {name: self._record.last[name] for name in self._record.names if name in self._record.last}

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

    def _terms(self, rows: Iterable[Row], micro_batches: int) -> list[tuple[Any, Tensor, bool]]:
        terms: list[tuple[Any, Tensor, bool]] = []
        for row in rows:
            self._record.note(row)
            sites = [self._every[path] for path in row.paths]
            if sites[0].mode != "collect":
                continue
            weights = [site.coefficient(row.term.name) for site in sites]
            weight = (torch.stack(weights) if row.values.ndim else weights[0]).to(row.values.dtype)
            weight = weight if row.term.every == 1 else row.term.every * weight
            divided = weight if row.term.coupled or micro_batches == 1 else weight / micro_batches
            one = (1.0, torch.dot(divided, row.values)) if row.values.ndim else (divided, row.values)
            terms.append((*one, row.term.coupled))
        return terms

    def _rows(self, calls: Mapping[str, list[Call]]) -> list[Row]:
        later, rows = {}, []
        for path, ones in calls.items():
            if len(ones) == 1 and isinstance(ones[0], Seen):
                later[path] = ones[0]
            elif ones:
                terms = zip(self._every[path].terms, *evaluated(ones), strict=True)
                rows += [Row([path], term, CALLS[self._calls](values), len(values)) for term, *values in terms]
        return rows + grouped(later)

    def _weigh(self, path: str) -> Call:
        site = self._every[path]
        observed(path, site, self._read(path))
        (call,) = site.calls()
        return call if isinstance(call, Seen) else tuple([_whole(value) for value in call])

    def _weigh_some(self, path: str, terms: Iterable[regcore.Term]) -> list[Row]:
        """The terms of a weight that count in this combine, where some do not in each."""
        due = [term for term in terms if self._combined % term.every == 0]
        weight, params = self._read(path) if due else None, dict(self._every[path].params.items())
        return [Row([path], term, _whole(regcore.value(term.spec, weight, term.select(params)))) for term in due]

    def _read(self, path: str) -> Tensor:
        try:
            return self._weights[path].read()
        except ValueError as error:
            raise ValueError(f"at {path!r}: {error}") from None


def _whole(value: Tensor) -> Tensor:
    return getattr(value, "full_tensor", lambda: value)()  # of a DTensor


def _number(sites: Mapping[str, Regularize]) -> None:
    """Give sites whose penalties are equal, and may be evaluated together, the number of their kind."""
    specs = {path: site.spec for path, site in sites.items() if site.mode == "collect" and site.across is regcore.Alone}
    times = Counter(specs.values())
    kinds = {spec: kind for kind, spec in enumerate(times)}
    for path, spec in specs.items():
        sites[path].kind = kinds[spec] if times[spec] > 1 else None


def _key(path: str) -> str:
    """A name for a submodule, which has no dots and is no attribute of ModuleDict."""
    key = path.replace(".", "/")
    return f"{key}/" if key in dir(nn.ModuleDict) else key
