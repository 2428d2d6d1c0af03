"""Calls of sites that are evaluated when the loss is combined: many of one shape as one node of the graph."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import regcore
from regcore.backends import torch_groups

Values = tuple[Tensor, ...]  # one for each term


class Seen(NamedTuple):
    """What a site saw in a call, which is evaluated later if nothing changes it in between."""

    spec: regcore.Penalty
    terms: tuple[regcore.Term, ...]
    kind: int  # of the spec, the same for equal ones
    x: Tensor
    params: Mapping[str, Tensor]
    versions: tuple[int, ...]

    def key(self) -> Any:
        """Equal for calls that can be stacked."""
        own = [(param.shape, param.dtype, param.device) for param in self.params.values()]
        return self.kind, self.x.shape, self.x.dtype, self.x.device, *own

    def check(self) -> None:
        """Raise RuntimeError if what was seen is not what it was."""
        if self.versions != _versions(self.x, self.params):
            raise RuntimeError(
                f"what {self.spec} penalized was changed in place before backward: penalize a copy, "
                "x.clone(), or with regcore_torch.regularize pass clone=True"
            )

    def values(self) -> Values:
        """Each term on its own."""
        self.check()
        return tuple([regcore.value(term.spec, self.x, term.select(self.params)) for term in self.terms])


Call = Values | Seen

PLAIN = (Tensor, nn.Parameter)  # of subclasses it is not known what stacking does


class Row(NamedTuple):
    """A term at several sites: its values, 1-d, or 0-d at one site; with the number of calls at each."""

    paths: Sequence[str]
    term: regcore.Term
    values: Tensor
    calls: int = 1


def seen(
    spec: regcore.Penalty, terms: tuple[regcore.Term, ...], kind: int, x: Tensor, params: Mapping[str, Tensor]
) -> Seen | None:
    """What to evaluate later, or None for what must be evaluated at once.

    That is what has no gradient, what is compiled or transformed, and what an activation checkpoint, or another hook on
    saved tensors, does not want kept.
    """
    if not (x.requires_grad and torch.is_grad_enabled()) or type(x) not in PLAIN or not torch_groups.alone():
        return None
    if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
        return None
    return Seen(spec, terms, kind, x, params, _versions(x, params))


def differentiable(call: Call) -> bool:
    """Whether a gradient can flow through all terms."""
    return isinstance(call, Seen) or all(value.requires_grad for value in call)


def origins(call: Call) -> tuple[Any, ...]:
    """The nodes of the graph where values came from: compiled code, or what was penalized."""
    if isinstance(call, Seen):
        return (call.x.grad_fn,)
    nodes = [value.grad_fn for value in call if value.grad_fn is not None]
    return (*nodes, *(before for node in nodes for before, _ in node.next_functions if before is not None))


def evaluated(calls: Sequence[Call]) -> list[Values]:
    """The values of each call."""
    return [call.values() if isinstance(call, Seen) else call for call in calls]


def grouped(calls: Mapping[str, Seen]) -> list[Row]:
    """Rows of sites that were called once, by shape; what no group gains by is evaluated site by site."""
    alike: dict[Any, list[str]] = {}
    for path, call in calls.items():
        call.check()
        alike.setdefault(call.key(), []).append(path)
    rows = []
    for paths in alike.values():
        first = calls[paths[0]]
        most = min([torch_groups.at_once(term.spec, first.x, term.select(first.params)) for term in first.terms])
        for i in range(0, len(paths), most):
            rows.extend(_rows(paths[i : i + most], calls))
    return rows


def _rows(paths: list[str], calls: Mapping[str, Seen]) -> list[Row]:
    first = calls[paths[0]]
    if len(paths) == 1:
        return [Row(paths, term, value) for term, value in zip(first.terms, first.values(), strict=True)]
    arrays = [calls[path].x for path in paths]
    params = [calls[path].params for path in paths]
    return [
        Row(paths, term, torch_groups.values(term.spec, arrays, [term.select(own) for own in params]))
        for term in first.terms
    ]


def _versions(x: Tensor, params: Mapping[str, Tensor]) -> tuple[int, ...]:
    return (x._version, *[param._version for param in params.values()])
