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
    kind: int | None  # of the spec, the same for equal ones
    x: Tensor
    params: Mapping[str, Tensor]
    versions: list[int]

    def key(self) -> Any:
        """Equal for calls that can be stacked. RuntimeError if what was seen is not what it was."""
        if self.versions != _versions(self.x, self.params):
            raise RuntimeError(
                f"what {self.spec} penalized was changed in place before backward: penalize a copy, x.clone(), or with "
                "regcore_torch.regularize pass clone=True"
            )
        return self.kind, self.x.shape, self.x.dtype, self.x.device, *[param.dtype for param in self.params.values()]

    def values(self) -> Values:
        """Each term on its own."""
        self.key()
        return tuple([regcore.value(term.spec, self.x, term.select(self.params)) for term in self.terms])


Call = Values | Seen

PLAIN = (Tensor, nn.Parameter)  # of subclasses it is not known what stacking does


class Row(NamedTuple):
    """A term at several sites: its values, 1-d, or 0-d at one site; with the number of calls at each."""

    paths: Sequence[str]
    term: regcore.Term
    values: Tensor
    calls: int = 1


def waits(x: Any) -> bool:
    """Whether a penalty of `x` can be evaluated later.

    Not what has no gradient, what is compiled, traced or transformed, and what an activation checkpoint, or another
    hook on saved tensors, does not want kept.
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) in PLAIN
        and x.requires_grad
        and torch.is_grad_enabled()
        and torch_groups.alone()
        and torch._C._autograd._top_saved_tensors_default_hooks(False) is None
        and torch._C._current_graph_task_id() == -1
        and not torch._C._is_tracing()
    )


def seen(spec: regcore.Penalty, terms: tuple[regcore.Term, ...], kind: int | None, x: Tensor, params: Any) -> Seen:
    """As it is now."""
    return Seen(spec, terms, kind, x, dict(params), _versions(x, params))


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
        alike.setdefault(call.key(), []).append(path)
    rows = []
    for paths in alike.values():
        first = calls[paths[0]]
        for term in first.terms:
            most = torch_groups.at_once(term.spec, first.x, term.select(first.params))
            names = term.select({name: name for name in first.params})
            for i in range(0, len(paths), most):
                rows.append(_row(paths[i : i + most], term, names, calls))
    return rows


def _row(paths: list[str], term: regcore.Term, names: Mapping[str, str], calls: Mapping[str, Seen]) -> Row:
    seen = [calls[path] for path in paths]
    params = [{short: one.params[name] for short, name in names.items()} for one in seen]
    if len(seen) == 1:
        return Row(paths, term, regcore.value(term.spec, seen[0].x, params[0]))
    return Row(paths, term, torch_groups.values(term.spec, [one.x for one in seen], params))


def _versions(x: Tensor, params: Mapping[str, Tensor]) -> list[int]:
    return [x._version, *[param._version for param in params.values()]]
