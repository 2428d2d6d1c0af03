"""One penalty of many tensors, such as all weights of a model, at a fraction of the price of as many calls."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

import regcore
from regcore.backends import torch_groups

from .groups import PLAIN


def values(
    spec: regcore.Penalty, arrays: Iterable[Tensor], params: Iterable[Mapping[str, Any]] | None = None
) -> Tensor:
    """The penalty of each array, 1-d: `torch.stack([spec(x, own) for x, own in zip(arrays, params)])`.

    Values, gradients and errors are those of the single calls. Arrays of one shape are stacked and evaluated together,
    as one node of the graph, in groups small enough to stay in cache; that is what makes many small arrays cheap.
    Nothing is kept for backward but the arrays themselves. `params` has the learned parameters for each array, and is
    left out where the penalty has none. The `.grad` of arrays of one shape may be views of one storage.

    Raises what `regcore.value` raises, and ValueError for no arrays and for parameters of another number. Under
    torch.compile and the transforms of torch.func it makes the single calls.

    >>> values(regcore.AR(), [torch.ones(2, 3), 2.0 * torch.ones(4)])
    tensor([1., 4.])
    """
    xs = list(arrays)
    owns: list[Mapping[str, Any]] = [{}] * len(xs) if params is None else list(params)
    if not xs or len(owns) != len(xs):
        raise ValueError(
            f"{spec} got {len(xs)} arrays, and params for {len(owns)}; expected one array or more, and params for each"
        )
    if torch.compiler.is_compiling():
        return torch.stack([regcore.value(spec, x, own) for x, own in zip(xs, owns, strict=True)])
    order, parts = [], []
    for alike in _alike(xs, owns):
        most = 1
        if len(alike) > 1:
            regcore.functional.check(spec, xs[alike[0]], owns[alike[0]])
            most = torch_groups.at_once(spec, xs[alike[0]], owns[alike[0]])
        parts += [_part(spec, [(xs[i], owns[i]) for i in alike[j : j + most]]) for j in range(0, len(alike), most)]
        order += alike
    joined = torch.cat(parts)
    return joined if order == sorted(order) else joined[torch.tensor(order, device=joined.device).argsort()]


def _alike(xs: list[Tensor], owns: list[Mapping[str, Any]]) -> list[list[int]]:
    """The indices of arrays that can be stacked, and so can their parameters."""
    found: dict[Any, list[int]] = {}
    for i, (x, own) in enumerate(zip(xs, owns, strict=True)):
        plain = type(x) in PLAIN and all(type(param) in PLAIN for param in own.values())
        kinds = [(name, param.shape, param.dtype) for name, param in own.items()] if plain else []
        found.setdefault((x.shape, x.dtype, x.device, *kinds) if plain else i, []).append(i)
    return list(found.values())


def _part(spec: regcore.Penalty, pairs: list[tuple[Tensor, Mapping[str, Any]]]) -> Tensor:
    if len(pairs) == 1:
        return regcore.value(spec, *pairs[0])[None]
    return torch_groups.values(spec, [x for x, _ in pairs], [own for _, own in pairs])
