"""Forward hooks of a regularizer, which do nothing in a copy of the model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .layer import Regularize, recomputing
from .outputs import Select, chosen, replaced
from .passes import Passes


class Hook:
    """Calls a function. Copied or pickled it is one that does nothing: a copy of a model has no part in the loss."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __reduce__(self) -> Any:
        return Hook, (_nothing,)


class Watch:
    """What the hooks of one model have in common: when they act, and the mask of the present forward pass."""

    def __init__(self, root: nn.Module, passes: Passes, train_only: bool, mask: Callable[..., Any] | None) -> None:
        self.root, self.passes, self.train_only = root, passes, train_only
        self._mask_of, self._mask = mask, None
        self._masks = 0  # forward passes since a backward
        self._differentiated = False
        self._grad = True  # whether gradients were enabled where the pass began; a checkpoint disables them inside

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.passes.begin()
        self._grad = torch.is_grad_enabled()
        if self._mask_of is not None:
            self._mask = self._mask_of(*args, **kwargs)
            self._masks = 1 if self._differentiated else self._masks + 1
            self._differentiated = False

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        self.passes.end(output, self.root.training)

    def backward_came(self) -> None:
        self._differentiated = True

    def acts(self, site: Regularize) -> bool:
        if not self.train_only:
            return True
        attached = site.mode == "attach" and self._grad
        return self.root.training and (torch.is_grad_enabled() or attached)

    def mask(self, path: str) -> Tensor | None:
        if self._mask is not None and self._masks > 1 and recomputing():
            raise RuntimeError(
                f"{path!r} is recomputed in backward by a checkpoint, after another forward pass brought another mask: "
                "call backward after each forward pass, or do not checkpoint this site"
            )
        return self._mask


class SiteHook:
    """Shows the output of one module to its site."""

    def __init__(self, path: str, site: Regularize, watch: Watch, select: Select, clone: bool) -> None:
        self.path, self.site, self.watch, self.select, self.clone = path, site, watch, select, clone

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if not self.watch.acts(self.site):
            return None
        batch_first = bool(getattr(module, "batch_first", False))  # of recurrent layers
        x, mask = chosen(self.path, output, self.select, batch_first)
        mask = self.watch.mask(self.path) if mask is None else mask
        if self.site.mode == "collect":
            observed(self.path, self.site, x.clone() if self.clone else x, mask)
            return None  # anything else would replace the output
        attached = observed(self.path, self.site, x, mask)
        return replaced(self.path, output, self.select, attached.clone() if self.clone else attached, batch_first)


def observed(path: str, site: Regularize, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """What the site makes of `x`; errors name the site."""
    try:
        return site.observe(x, mask)
    except (TypeError, ValueError) as error:
        raise type(error)(f"at {path!r}: {error}") from None


def _nothing(*arguments: Any) -> None:
    return None
