"""Forward hooks of a regularizer. Each has a class of its own, because torch.compile keeps code by function."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .layer import Regularize, leaving, recomputing
from .outputs import Select, chosen, replaced
from .passes import Passes


class Watch:
    """What the hooks of one model have in common: when they act, and the mask of the present forward pass."""

    def __init__(self, root: nn.Module, passes: Passes, train_only: bool, mask: Callable[..., Any] | None) -> None:
        self.root, self.passes, self.train_only = root, passes, train_only
        self._mask_of, self._mask = mask, None
        self._masks = 0  # forward passes since a backward
        self._differentiated = False
        self._grad = True  # whether gradients were enabled where the pass began; a checkpoint disables them inside

    @property
    def masks(self) -> bool:
        """Whether there may be a mask."""
        return self._mask_of is not None

    def begin(self, args: Any, kwargs: Any) -> None:
        if leaving():
            return
        if self._mask_of is not None:
            self._mask = self._mask_of(*args, **kwargs)
            self._masks = 1 if self._differentiated else self._masks + 1
            self._differentiated = False
        self.passes.compiled = torch.compiler.is_compiling()
        if not torch.compiler.is_compiling():  # torch.compile compiles the hooks of the root apart from the model
            self._grad = torch.is_grad_enabled()
            self.passes.begin()

    def end(self, output: Any) -> None:
        if not leaving() and not torch.compiler.is_compiling():
            self.passes.end(output, self.root.training)

    def backward_came(self) -> None:
        self._differentiated = True

    def acts(self, site: Regularize) -> bool:
        if leaving() or not self.train_only:
            return not leaving()
        attached = site.mode == "attach" and self._grad
        return self.root.training and (torch.is_grad_enabled() or attached)

    def mask(self, path: str) -> Tensor | None:
        if self._mask is not None and self._masks > 1 and recomputing():
            raise RuntimeError(
                f"{path!r} is recomputed in backward by a checkpoint, after another forward pass brought another mask: "
                "call backward after each forward pass, or do not checkpoint this site"
            )
        return self._mask


class Before:
    """Says that a forward pass of the model begins."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.watch.begin(args, kwargs)

    def __reduce__(self) -> Any:
        return Inert, ()


class After:
    """Says that a forward pass of the model ended."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.watch.end(output)

    def __reduce__(self) -> Any:
        return Inert, ()


class OnSite:
    """Shows the output of one module to its site."""

    def __init__(self, path: str, site: Regularize, watch: Watch, select: Select, clone: bool) -> None:
        self.path, self.site, self.watch, self.select, self.clone = path, site, watch, select, clone
        self.waits = site.kind is not None and select is None and not (clone or watch.masks)

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self.waits and self.watch.root.training and later(self.path, self.site, output):
            return None
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

    def __reduce__(self) -> Any:
        return Inert, ()


class Inert:
    """What each hook is in a copy of the model, deep or pickled, which has no part in the loss."""

    def __call__(self, *arguments: Any) -> None:
        return None


def later(path: str, site: Regularize, output: Any) -> bool:
    """Whether the site put off what it does; errors name the site."""
    try:
        return site.later(output)
    except (TypeError, ValueError) as error:
        raise type(error)(f"at {path!r}: {error}") from None


def observed(path: str, site: Regularize, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """What the site makes of `x`; errors name the site."""
    try:
        return site.observe(x, mask)
    except (TypeError, ValueError) as error:
        raise type(error)(f"at {path!r}: {error}") from None
