"""What may go wrong between the penalties of a step and the parameters, and what is said about it."""

import warnings
from collections.abc import Container, Iterable, Mapping

import torch
from torch import distributed, nn

from .groups import Call, differentiable


class Steps:
    """Notices a step of the optimizer that went past a penalty or a learned parameter.

    It compares how often each parameter was changed in place, which PyTorch counts.
    """

    def __init__(self, model: nn.Module, learned: Mapping[str, nn.Parameter]) -> None:
        own = {id(parameter) for parameter in learned.values()}
        self._model = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
        self._learned = dict(learned)
        self._changes: tuple[int, dict[str, int]] | None = None

    def heed(self, unreached: Iterable[str]) -> None:
        """Warn if the model was changed since the last call without `unreached` terms, or without what they learn."""
        if torch.compiler.is_compiling():
            return
        before, self._changes = self._changes, self._count()
        if before is None or before[0] == self._changes[0]:
            return
        if lost := sorted(unreached):
            warnings.warn(
                f"the model was changed since the last combine, and no gradient came through {lost}: call backward on "
                "the total that combine returned, not on the task loss, and detach nothing on the way",
                RuntimeWarning,
                stacklevel=4,
            )
        changed = self._changes[1]
        still = [name for name, p in self._learned.items() if p.grad is not None and changed[name] == before[1][name]]
        if still:
            warnings.warn(
                f"the model was changed since the last combine, and the learned parameters {still} were not, though "
                "they have a gradient: give reg.parameters() to the optimizer too, or call reg.register_on(model) "
                "before you make it, or requires_grad_(False) on what is not to be learned",
                RuntimeWarning,
                stacklevel=4,
            )

    def _count(self) -> tuple[int, dict[str, int]]:
        return sum([p._version for p in self._model]), {name: p._version for name, p in self._learned.items()}


def refuse_lost(calls: Mapping[str, list[Call]], on_missing: str, attached: Container[str]) -> None:
    """Raise RuntimeError, or warn, for sites without values, and raise it for values without a gradient.

    Values at `attached` sites are for the report alone.
    """
    if silent := [path for path, values in calls.items() if not values]:
        message = (
            f"{silent} recorded no penalty since the last combine. Was the module called in this step, by module(x), "
            "and not by module.forward(x)? (MultiheadAttention reads the weight of its out_proj and never calls it.) "
            "Was the model compiled and called before it was regularized (if so, call torch.compiler.reset())? Is the "
            'module inside reentrant checkpointing (if so, pass use_reentrant=False, or regularize with mode="attach")?'
        )
        if on_missing == "error":
            raise RuntimeError(message)
        if on_missing == "warn":
            warnings.warn(message, RuntimeWarning, stacklevel=4)
    detached = [
        path for path, ones in calls.items() if path not in attached and not all(differentiable(call) for call in ones)
    ]
    if detached and torch.is_grad_enabled():
        raise RuntimeError(
            f"no gradient can flow through the penalty at {detached}: what it saw is detached. Are all parameters "
            "before it frozen, or is its input detached?"
        )


def refuse_apart(model: nn.Module, learned: nn.Module) -> None:
    """Raise RuntimeError for learned parameters that no data-parallel wrapper of the model knows."""
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    known = {id(parameter) for parameter in model.parameters()}
    if apart := [name for name, parameter in learned.named_parameters() if id(parameter) not in known]:
        raise RuntimeError(
            f"{apart} are learned on {distributed.get_world_size()} processes, and no part of the model, so each would "
            "learn its own: call reg.register_on(model) before you wrap it in DistributedDataParallel"
        )
