"""The tensor in what a module returned, and the same output with another tensor in its place."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

Select = int | str | Callable[[Any], Any] | None


def chosen(path: str, output: Any, select: Select, batch_first: bool) -> tuple[Tensor, Tensor | None]:
    """The tensor that is penalized, and the mask of what is no padding in it if the output says so.

    Without `select` that is the output itself or the first of a tuple; a packed sequence is padded.
    """
    part = _part(path, output, select)
    if isinstance(part, PackedSequence):
        return _padded(part, batch_first)
    if not isinstance(part, Tensor):
        raise TypeError(
            f"{path!r} returned {_described(output)}; expected a tensor or a tuple that starts with one: pass select=, "
            "an index, a key or a function of the output, or put a Regularize layer where the tensor is"
        )
    return part, None


def replaced(path: str, output: Any, select: Select, tensor: Tensor, batch_first: bool) -> Any:
    """`output` with `tensor` where `chosen` found one."""
    part = _part(path, output, select)
    if isinstance(part, PackedSequence):
        lengths = pad_packed_sequence(_in_order(part))[1]
        part = part._replace(data=pack_padded_sequence(tensor, lengths, batch_first).data)
    else:
        part = tensor
    if isinstance(output, (Tensor, PackedSequence)):
        return part
    if isinstance(output, Mapping):
        output[select if select is not None else next(iter(output))] = part  # type: ignore[index]
        return output
    index = range(len(output))[select or 0]  # type: ignore[index]  # counted from the end, too
    parts = [part if i == index else other for i, other in enumerate(output)]
    return getattr(output, "_make", type(output))(parts)  # a named tuple has _make


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors in an output."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list, Mapping)):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from tensors(part)


def _part(path: str, output: Any, select: Select) -> Any:
    if callable(select):
        return select(output)
    try:
        if select is not None and isinstance(output, Tensor):
            raise TypeError  # an index would take a part of the batch
        if select is not None:
            return output[select]
    except (KeyError, IndexError, TypeError):
        raise TypeError(f"{path!r} returned {_described(output)}, which has no {select!r}: mend select=") from None
    if isinstance(output, PackedSequence):
        return output
    if isinstance(output, (tuple, list)) and output:
        return output[0]
    if isinstance(output, Mapping) and len(output) == 1:
        return next(iter(output.values()))
    return output


def _padded(packed: PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor]:
    padded, lengths = pad_packed_sequence(_in_order(packed), batch_first)
    steps = torch.arange(padded.shape[1 if batch_first else 0], device=padded.device)
    valid = steps < lengths.to(padded.device)[:, None]
    return padded, valid if batch_first else valid.T


def _in_order(packed: PackedSequence) -> PackedSequence:
    """In the order in which it is packed, so that packing it again gives the same."""
    return PackedSequence(packed.data, packed.batch_sizes)


def _described(output: Any) -> str:
    name = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {name} of {sorted(map(str, output))}"
    if isinstance(output, (tuple, list)):
        return f"a {name} of {[type(part).__name__ for part in output]}"
    return "None" if output is None else f"a {name}"
