"""PyTorch: value and gradient by the closed form, whole or in pieces, and what is found out about a call once."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .. import pieces, precision, slabs, variances
from ..penalty import Alone, Penalty
from . import torch_arrays as xp

PLAIN = (torch.Tensor, torch.nn.Parameter)  # of subclasses it is not known what writing does
MOST = 4096  # calls that are remembered


class Call:
    """What stays the same from call to call of a penalty on arrays of one kind."""

    __slots__ = ("_as_it_is", "_has_one_pass", "across", "device", "names", "shape", "size", "spec", "term")

    def __init__(self, spec: Any, x: torch.Tensor, params: Mapping[str, Any], across: Any) -> None:
        self.spec, self.across, self.names, self.device = spec, across, tuple(params), x.device.type
        self.shape, self.size = tuple(x.shape), x.numel()
        floating = [tensor.dtype for tensor in (x, *params.values()) if tensor.is_floating_point()]
        self._as_it_is = set(floating) == {precision.wide_dtype(xp, spec, x)}  # there is nothing to round
        self.term: Any = variances.term_of(spec, across)  # if the spec is a function of variances
        self._has_one_pass = type(spec).one_pass is not Penalty.one_pass

    def one_pass(self) -> bool:
        return self._has_one_pass and self.spec.one_pass(self.shape, self.across)

    def _by_formula(self) -> bool:
        """Whether the formulas of the penalty are all that it takes."""
        return (
            self._as_it_is
            and self.size <= _largest(self.device)
            and not self.one_pass()
            and not _autocasts(self.device)
        )

    def value(self, x: torch.Tensor, params: Sequence[torch.Tensor], mask: Any) -> torch.Tensor:
        named = dict(zip(self.names, params, strict=True)) if params else {}
        if self._by_formula():
            result: torch.Tensor = self.spec.value(xp, x, named, mask=mask, across=self.across)
            return result
        return value(self.spec, x, named, mask, self.across)

    def grad(self, x: torch.Tensor, params: Sequence[torch.Tensor], mask: Any, upstream: Any) -> Any:
        named = dict(zip(self.names, params, strict=True)) if params else {}
        if self._by_formula():
            dx, dparams = self.spec.grad(xp, x, named, mask=mask, across=self.across)
            upstream = precision.cast(xp, upstream, dx.dtype)
            return upstream * dx, {name: upstream * d for name, d in dparams.items()} if dparams else {}
        return grad(self.spec, x, named, mask, self.across, upstream)


_calls: dict[tuple[Any, ...], Call] = {}


def call(spec: Any, x: torch.Tensor, params: Mapping[str, Any], across: Any) -> Call:
    """That of an equal call before, if there was one; not of replicas, which it would keep alive."""
    if across is not Alone:
        return Call(spec, x, params, across)
    key: tuple[Any, ...] = (id(spec), x.dtype, x.shape, x.device)
    if params:
        key = (*key, *[(name, param.dtype) for name, param in params.items()])
    found = _calls.get(key)
    if found is None or found.spec is not spec:
        if len(_calls) >= MOST:
            _calls.clear()
        found = _calls[key] = Call(spec, x, params, across)
    return found


def value(spec: Any, x: Any, params: Any, mask: Any, across: Any) -> Any:
    with full_precision(x):
        large = in_pieces(spec, x, params, mask, across)
        return large.value() if large else precision.value(xp, spec, x, params, mask, across)


def grad(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    with full_precision(x):
        written = differentiates(x, {**params, "upstream": upstream})  # what is written to cannot be
        if large := None if written else in_pieces(spec, x, params, mask, across):
            return large.grad(upstream)
        return precision.grad(xp, spec, x, params, mask, across, upstream)


def value_and_grad(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    """Both at once, of which neither can be differentiated."""
    with full_precision(x):
        if large := in_pieces(spec, x, params, mask, across):
            return large.value_and_grad(upstream)
        return precision.value_and_grad(xp, spec, x, params, mask, across, upstream)


def differentiates(x: torch.Tensor, params: Any) -> bool:
    if not torch.is_grad_enabled():
        return False
    if x.requires_grad:
        return True
    return any(isinstance(tensor, torch.Tensor) and tensor.requires_grad for tensor in params.values())


def full_precision(x: torch.Tensor) -> Any:
    """Without autocast, which would make half-precision products even of float32; the meta device knows none."""
    device = x.device.type
    may = _autocasts(device) or (torch.compiler.is_compiling() and device != "meta")
    return torch.autocast(device, enabled=False) if may else _AS_IT_IS


def _autocasts(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


_AS_IT_IS = contextlib.nullcontext()


def _largest(device: str) -> int:
    return pieces.CACHED if device == "cpu" else pieces.ELSEWHERE


def in_pieces(spec: Any, x: torch.Tensor, params: Any, mask: Any, across: Any) -> Any:
    """Of an array that can be written to, and not while a transformation gives it other axes."""
    if torch.compiler.is_compiling() or x.numel() <= _largest(x.device.type):
        return None
    if type(x) not in PLAIN or torch._C._are_functorch_transforms_active():
        return None
    return slabs.cut(xp, xp.Writer, spec, x, params, mask, across, x.stride(), _largest(x.device.type))
