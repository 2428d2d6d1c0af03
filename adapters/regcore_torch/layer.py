"""The identity layer that records the penalty of what passes through it."""

import math

import torch
from torch import Tensor, nn

import regcore

MOST_PENDING = 100  # values that wait at a site; more means that nobody combines them


class Regularize(nn.Module):
    """Identity; in training it records each term of `spec` for what passes, until the loss takes them.

    Put it where the activation is, then `reg = regularize(model)` once and `loss = reg.combine(task)` in each step. It
    records in training mode with gradients enabled, and nothing in evaluation. Learned parameters are parameters of the
    layer, so the model's optimizer trains them and its state_dict saves them; the weight of each term is a buffer,
    which `set_coefficient` changes. What the penalty needs beside `x`, such as labels, is passed by keyword.

        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Regularize(0.1 * regcore.L1()))
    """

    def __init__(self, spec: regcore.Penalty) -> None:
        super().__init__()
        self.spec = spec
        self.terms = spec.terms()
        self.params = nn.ParameterDict({name: torch.tensor(initial) for name, initial in spec.init().items()})
        for term in self.terms:
            self.register_buffer(f"coefficient_{term.name}", torch.tensor(term.weight, dtype=torch.get_default_dtype()))
        self._pending: list[tuple[Tensor, ...]] = []

    def forward(self, x: Tensor, mask: Tensor | None = None, **inputs: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self.record(x, mask, **inputs)
        return x

    def record(self, x: Tensor, mask: Tensor | None = None, **inputs: Tensor) -> None:
        """Evaluate every term on `x` and keep the values for the loss."""
        params = {**dict(self.params.items()), **inputs}
        values = tuple(regcore.value(term.spec, x, term.select(params), mask=mask) for term in self.terms)
        if not _recomputing():
            if len(self._pending) >= MOST_PENDING:
                raise RuntimeError(
                    f"{MOST_PENDING} values of {self.spec} wait for the loss and no call took them: "
                    "call reg.combine(loss) in each step, reg.reset() to drop them, or model.eval() to record none"
                )
            self._pending.append(values)

    def take(self) -> list[tuple[Tensor, ...]]:
        """The recorded values, one tuple over the terms for each call; the layer forgets them."""
        taken, self._pending = self._pending, []
        return taken

    def coefficient(self, term: str) -> Tensor:
        """The weight of a term, a 0-d buffer."""
        names = [known.name for known in self.terms]
        if term not in names:
            raise ValueError(f"{self.spec} has no term {term!r}; it has {names}")
        return self.get_buffer(f"coefficient_{term}")

    def set_coefficient(self, term: str, coefficient: float) -> None:
        """Weigh a term anew, also after torch.compile. ValueError for an unknown term, inf and NaN."""
        if not math.isfinite(coefficient):
            raise ValueError(f"{term!r} got the coefficient {coefficient}; it must be a finite number")
        self.coefficient(term).fill_(coefficient)

    def extra_repr(self) -> str:
        return str(self.spec)


def _recomputing() -> bool:
    """Whether backward runs an activation checkpoint again; the first run has recorded already."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
