"""Forward passes whose penalties wait for the loss, so that none enters a loss that it has no part in."""

import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .groups import Call, origins
from .layer import Regularize
from .outputs import tensors

MOST_WAITING = 16  # passes; more means that nobody combines them


class Pass(NamedTuple):
    """What one forward pass of the model left."""

    calls: dict[str, list[Call]]  # by site
    kind: tuple[bool, bool]  # whether the model trained, whether gradients were enabled
    nodes: tuple[Any, ...]  # of the graph, by one of which the loss is known to depend on it


class Passes:
    """Collects from the sites at the end of each forward pass of the model."""

    def __init__(self, sites: Mapping[str, Regularize]) -> None:
        self._sites = sites
        self._waiting: list[Pass] = []
        self._inside = False
        self.compiled = False  # the latest

    def __getstate__(self) -> dict[str, Any]:
        """A copy starts with nothing that waits."""
        return {**self.__dict__, "_waiting": []}

    def begin(self) -> None:
        """A forward pass begins; what one left that raised is dropped."""
        if self._inside:
            self._collected()
        self._inside = True

    def end(self, output: Any, training: bool) -> None:
        """It ended."""
        self._inside = False
        nodes = tuple(tensor.grad_fn for tensor in tensors(output) if tensor.grad_fn is not None)
        left = Pass(self._collected(), (training, torch.is_grad_enabled()), nodes)
        if any(left.calls.values()):
            self._waiting.append(left)
        if len(self._waiting) > MOST_WAITING:
            self._waiting = self._waiting[-MOST_WAITING:]
            warnings.warn(
                f"{MOST_WAITING + 1} forward passes were recorded and no loss took them, so the first is dropped: call "
                "reg.combine(loss) in each step, or model.eval() where there is no loss",
                RuntimeWarning,
                stacklevel=2,
            )

    def take(self, task: Tensor, training: bool) -> dict[str, list[Call]]:
        """The calls that `task` is to be regularized by; all else that waited is dropped."""
        kind = (training, torch.is_grad_enabled())
        waiting = [*self._waiting, *self._undelimited(kind)]
        self._waiting = []
        alive = _alive(task, [one for one in waiting if one.kind == kind])
        return {path: [call for one in alive for call in one.calls.get(path, [])] for path in self._sites}

    def _undelimited(self, kind: tuple[bool, bool]) -> list[Pass]:
        """Calls that no forward pass of the model surrounds, or a compiled one: each may have a part in the loss."""
        return [
            Pass({path: [call]}, kind, () if torch.compiler.is_compiling() else origins(call))
            for path, calls in self._collected().items()
            for call in calls
        ]

    def drop(self) -> None:
        """Forget everything."""
        self._collected()
        self._waiting = []

    def _collected(self) -> dict[str, list[Call]]:
        return {path: site.calls() for path, site in self._sites.items()}


def _alive(task: Tensor, waiting: list[Pass]) -> list[Pass]:
    """Without the passes whose output has no part in the loss, where there are several and some has."""
    known = [one for one in waiting if one.nodes]
    sites = [path for one in known for path in one.calls]
    if len(sites) == len(set(sites)) or task.grad_fn is None or torch.compiler.is_compiling():
        return waiting
    reached = _reached(task.grad_fn, {node for one in known for node in one.nodes})
    dead = [one for one in known if not reached.intersection(one.nodes)]
    if not dead or len(dead) == len(known):  # a loss of inner activations tells nothing
        return waiting
    warnings.warn(
        f"{len(dead)} of {len(known)} forward passes since the last combine have no part in this loss, so their "
        "penalties are dropped: run what is thrown away under torch.no_grad() or model.eval()",
        RuntimeWarning,
        stacklevel=4,
    )
    return [one for one in waiting if not any(one is other for other in dead)]


def _reached(root: Any, wanted: Iterable[Any]) -> set[Any]:
    """Those of the wanted nodes from which the root was computed."""
    missing, found, seen, queue = set(wanted), set(), {root}, deque([root])
    while queue and missing:
        node = queue.popleft()
        if node in missing:
            missing.discard(node)
            found.add(node)
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                queue.append(before)
    return found
