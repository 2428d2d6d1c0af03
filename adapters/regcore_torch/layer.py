"""The identity layer that records the penalty of what passes through it, or attaches its gradient."""

import math
from typing import Any

import torch
from torch import Tensor, nn

import regcore

from .groups import Call, Values, evaluated, seen, waits
from .scale import Counted

MOST_PENDING = 100  # values that wait in a layer that no regularizer empties


class Regularize(nn.Module):
    """Identity; in training it records each term of `spec` for what passes, until the loss takes them.

    Put it where the activation is, then `reg = regularize(model)` once and `loss = reg.combine(task)` in each step. It
    records in training mode with gradients enabled, and nothing in evaluation. Learned parameters are parameters of the
    layer, so the model's optimizer trains them and its state_dict saves them; the weight of each term is a buffer,
    which `set_coefficient` changes. What the penalty needs beside `x`, such as labels, is passed by keyword. `across`
    sums statistics over replicas, see `AllReduce`.

    With `mode="attach"` the gradient of the penalty is added to that of `x` in backward, times the scale of the loss
    that `reg.combine` tells. That works in reentrant checkpoints too, and for no term that multiplies the task loss.
    Terms are evaluated for the report alone then, and not at all in compiled code.

        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Regularize(0.1 * regcore.L1()))
    """

    def __init__(self, spec: regcore.Penalty, *, mode: str = "collect", across: Any = regcore.Alone) -> None:
        super().__init__()
        if mode not in ("collect", "attach"):
            raise ValueError(f"{spec} got mode={mode!r}; expected 'collect' or 'attach'")
        self.spec, self.mode, self.across = spec, mode, across
        self.terms = spec.terms()
        if mode == "attach":
            regcore.functional.refuse_coupled(spec)
        self.params = nn.ParameterDict({name: torch.tensor(initial) for name, initial in spec.init().items()})
        for term in self.terms:
            self.register_buffer(f"coefficient_{term.name}", torch.tensor(term.weight, dtype=torch.get_default_dtype()))
        self.loss_scale = torch.ones(())  # d loss / d penalty where it is attached; a regularizer brings its own
        self.seen: Any = None  # called in backward, where the gradient of the loss arrives at what was attached
        self.counter = torch.zeros((), requires_grad=True)  # the same for compiled code
        self.train_only = True  # a regularizer may ask for evaluation too
        self.kind: int | None = None  # of the spec, if a regularizer evaluates equal sites together
        self._checked: Any = None  # a shape and a dtype for which the spec is defined
        self._pending: list[Call] = []

    def forward(self, x: Tensor, mask: Tensor | None = None, **inputs: Tensor) -> Tensor:
        acts = not self.train_only or (self.training and (torch.is_grad_enabled() or self.mode == "attach"))
        return self.observe(x, mask, **inputs) if acts and not leaving() else x

    def observe(self, x: Tensor, mask: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """Record every term on `x`, and return `x`, with their gradients attached if that is the mode."""
        if isinstance(x, torch.fx.Proxy):
            return x
        if self.mode == "collect":
            if self.kind is None or mask is not None or inputs or not self.later(x):
                self._record(self._values(x, mask, inputs))
            return x
        if not torch.compiler.is_compiling():  # compiled code may leave nothing behind while it checkpoints
            with torch.no_grad():
                self._record(self._values(x, mask, inputs))
        out, params = x, {**dict(self.params.items()), **inputs}
        for term in self.terms:
            scale = (self.loss_scale, self.coefficient(term.name))
            chosen = term.select(params)
            out = regcore.attach(regcore.added(term.spec), out, chosen, scale=scale, mask=mask, across=self.across)
        if torch.compiler.is_compiling():
            return Counted.apply(out, self.counter)
        if self.seen is not None and out.requires_grad:
            out.register_hook(self.seen)
        return out

    def later(self, x: Tensor) -> bool:
        """Record `x`, to be evaluated when the loss is combined. False if it must be evaluated now."""
        if not waits(x) or len(self._pending) >= MOST_PENDING:
            return False
        call = seen(self.spec, self.terms, self.kind, x, self._modules["params"]._parameters)  # type: ignore
        if self._checked != (x.shape, x.dtype):
            regcore.functional.check(self.spec, x, call.params)
            self._checked = (x.shape, x.dtype)
        self._pending.append(call)
        return True

    def take(self) -> list[Values]:
        """The recorded values, one tuple over the terms for each call; the layer forgets them."""
        return evaluated(self.calls())

    def calls(self) -> list[Call]:
        """The same, where calls that a regularizer evaluates together are not evaluated yet."""
        taken = list(self._pending)
        self._pending.clear()  # setting an attribute of a module takes longer
        return taken

    def coefficient(self, term: str) -> Tensor:
        """The weight of a term, a 0-d buffer."""
        coefficient = self._buffers.get(f"coefficient_{term}")
        if coefficient is None:
            raise ValueError(f"{self.spec} has no term {term!r}; it has {[known.name for known in self.terms]}")
        return coefficient

    def set_coefficient(self, term: str, coefficient: float) -> None:
        """Weigh a term anew, also after torch.compile. ValueError for an unknown term, inf and NaN."""
        if not math.isfinite(coefficient):
            raise ValueError(f"{term!r} got the coefficient {coefficient}; it must be a finite number")
        self.coefficient(term).fill_(coefficient)

    def extra_repr(self) -> str:
        return f"{self.spec}, mode={self.mode!r}" if self.mode != "collect" else str(self.spec)

    def __getstate__(self) -> dict[str, Any]:
        """A copy starts with nothing recorded: values that wait are part of a graph, which cannot be copied."""
        return {**self.__dict__, "_pending": [], "seen": None}

    def _values(self, x: Tensor, mask: Tensor | None, inputs: Any) -> Values:
        params = {**dict(self.params.items()), **inputs}
        return tuple(
            regcore.value(term.spec, x, term.select(params), mask=mask, across=self.across) for term in self.terms
        )

    def _record(self, values: Call) -> None:
        if recomputing():
            return
        if len(self._pending) >= MOST_PENDING:
            raise RuntimeError(
                f"{MOST_PENDING} values of {self.spec} wait for the loss and no call took them: "
                "call reg.combine(loss) in each step, reg.reset() to drop them, or model.eval() to record none"
            )
        self._pending.append(values)


def recomputing() -> bool:
    """Whether backward runs an activation checkpoint again; the first run has recorded already."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def leaving() -> bool:
    """Whether the model is exported or traced for deployment, which takes no penalties along."""
    return torch.compiler.is_exporting() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined]
