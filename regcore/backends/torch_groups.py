"""PyTorch: many arrays of one shape as one node of the graph, by the closed form mapped over their stack."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import array_api_compat.torch as xp
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .. import precision
from ..replicas import Alone
from . import torch_line_groups
from .torch_calls import full_precision
from .torch_functions import unchanged

MOST = 2**20  # elements of the largest array that evaluating a group makes, so that it stays in cache


def values(spec: Any, arrays: Sequence[Tensor], params: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """The penalty of each array, 1-d. They have one shape, dtype and device, and so have parameters of one name."""
    names = tuple(params[0])
    tensors = [*arrays, *[own[name] for name in names for own in params]]
    if torch_line_groups.takes(spec):
        return torch_line_groups.LineGroup.apply(spec, names, len(arrays), _gradients, *tensors)
    return _Group.apply(spec, names, len(arrays), *tensors)


def at_once(spec: Any, x: Tensor, params: Mapping[str, Tensor]) -> int:
    """How many arrays like `x` to take as one group; 1 means that nothing is gained by it."""
    if (
        torch.compiler.is_compiling()
        or not alone()
        or type(x) not in (Tensor, torch.nn.Parameter)
        or x.device.type == "meta"
        or 2 * x.numel() > MOST
    ):
        return 1
    if precision.one_pass(spec, x, Alone):  # its gradients come with the value and wait in memory
        return 1
    if torch_line_groups.takes(spec):
        return torch_line_groups.MOST
    shapes = tuple([(name, tuple(param.shape), param.dtype) for name, param in params.items()])
    return max(1, MOST // _largest(spec, tuple(x.shape), x.dtype, shapes))


def alone() -> bool:
    """Whether no transform of torch.func and no forward mode is on."""
    return not torch._C._are_functorch_transforms_active() and torch.autograd.forward_ad._current_level < 0


@functools.lru_cache(maxsize=1024)
def _largest(spec: Any, shape: tuple[int, ...], dtype: torch.dtype, params: tuple[Any, ...]) -> int:
    """The size of the largest array that value and gradient make, such as a Gram matrix; found without computing."""
    x = torch.empty(shape, dtype=dtype, device="meta")
    named = {name: torch.empty(size, dtype=kind, device="meta") for name, size, kind in params}
    with torch.no_grad(), _Sizes() as sizes:
        precision.value(xp, spec, x, named, None, Alone)
        precision.grad(xp, spec, x, named, None, Alone, 1.0)
    return max(x.numel(), sizes.largest)


class _Sizes(TorchDispatchMode):
    """Notices the largest result of any operation."""

    largest = 1

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.largest = max([self.largest, *sizes])
        return result


class _Group(torch.autograd.Function):
    """Saves its inputs alone. The backward is made of differentiable operations, so it can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, spec: Any, names: tuple[str, ...], size: int, *tensors: Tensor) -> Tensor:
        ctx.spec, ctx.names, ctx.size = spec, names, size
        ctx.save_for_backward(*tensors)

        def value(x: Tensor, *params: Tensor) -> Tensor:
            return precision.value(xp, spec, x, dict(zip(names, params, strict=True)), None, Alone)

        return _mapped(value, size, tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        gradients = _gradients(ctx.spec, ctx.names, ctx.size, unchanged(ctx, ctx.spec), upstream)
        return None, None, None, *gradients


def _gradients(
    spec: Any, names: tuple[str, ...], size: int, tensors: Sequence[Tensor], upstream: Tensor
) -> list[Tensor]:
    """By each tensor, of operations that can be differentiated."""

    def gradients(upstream: Tensor, x: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        dx, dparams = precision.grad(xp, spec, x, dict(zip(names, params, strict=True)), None, Alone, upstream)
        return dx, *[dparams[name] for name in names]

    stacks = _mapped(gradients, size, tensors, upstream)
    return [gradient for stack in stacks for gradient in stack.unbind()]


def _mapped(function: Callable[..., Any], size: int, tensors: Sequence[Tensor], *before: Tensor) -> Any:
    """`function` of each array and its parameters, of which `tensors` has `size` after one another."""
    stacks = [torch.stack(list(tensors[i : i + size])) for i in range(0, len(tensors), size)]
    with full_precision(stacks[0]):
        return torch.func.vmap(function)(*before, *stacks)
