"""How attached penalties learn what the loss is multiplied by, and how one learns that backward came to them."""

from typing import Any

import torch
from torch import Tensor


class Published(torch.autograd.Function):
    """The loss, and in backward its derivative written to `scale`, before any gradient goes further.

    GradScaler, gradient accumulation and trainers multiply the loss; what is attached must be multiplied likewise.
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, scale: Tensor, divisor: float) -> Tensor:
        ctx.scale, ctx.divisor = scale, divisor
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        ctx.scale.data.copy_(upstream / ctx.divisor)  # past the version counter: it is saved to be read in backward
        return upstream, None, None


class Counted(torch.autograd.Function):
    """Identity, whose backward adds 1 to `counter.grad`: the one trace of what is attached in compiled code.

    torch.compile does not look for hooks: another instance of the class, compiled without hooks, lends it its code.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, counter: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return upstream, torch.ones_like(ctx.saved_tensors[0])


def publish(loss: Tensor, scale: Tensor, divisor: float) -> Tensor:
    """`loss`, whose backward sets `scale` to its derivative, over `divisor`. ValueError if it is no scalar."""
    if loss.ndim:
        raise ValueError(
            f"the loss has shape {tuple(loss.shape)}; expected a 0-d loss, of which attached penalties are part: take "
            "its mean or sum first"
        )
    return Published.apply(loss, scale, divisor)
