"""What a model that runs tells the penalty layers within it: who is tracked, and what the loss is multiplied by."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

Tensor = Any


class Run:
    """One call of a model: the scale of the loss for each layer, and the layers that the model knows."""

    def __init__(self, scale: Callable[[keras.Layer], Tensor], model: keras.Model | None = None) -> None:
        self.scale, self._model = scale, model

    @functools.cached_property
    def _tracked(self) -> frozenset[int]:
        return frozenset(id(layer) for layer in self._model._flatten_layers()) if self._model else frozenset()

    def check(self, layer: keras.Layer) -> None:
        """RuntimeError for a layer that runs in the model, but of which the model does not know."""
        if self._model is not None and id(layer) not in self._tracked:
            raise RuntimeError(
                f"{layer.name} runs in {self._model.name}, which does not track it, so its penalty and what it learns "
                "would be lost: make it an attribute of a layer, or put it into a list or dict that is one"
            )


current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("run", default=None)


@contextlib.contextmanager
def within(run: Run) -> Iterator[None]:
    """Within it, layers are told so, unless they are told something already: by the model around."""
    token = current.set(current.get() or run)
    try:
        yield
    finally:
        current.reset(token)


def loss_scale(scale: Tensor) -> contextlib.AbstractContextManager[None]:
    """Within it, `mode="attach"` multiplies the gradients of penalties by `scale`, as the loss will be multiplied.

    For a training loop by hand; a `RegularizedModel` that is compiled does it by itself.

        with regcore_keras.loss_scale(optimizer.scale_loss(1.0)):
            y = model(x, training=True)
    """
    return within(Run(lambda layer: scale))
