"""Which losses someone sees who reads them from a model, because not all of them are to be added up."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

Tensor = Any  # a tensor of the library that Keras runs on

apart: contextvars.ContextVar[list[Tensor] | None] = contextvars.ContextVar("apart", default=None)
hidden: contextvars.ContextVar[bool] = contextvars.ContextVar("hidden", default=False)


@contextlib.contextmanager
def coupled_apart() -> Iterator[list[Tensor]]:
    """Within it, those that multiply the task loss are left out, and put into the list given here."""
    coupled: list[Tensor] = []
    token = apart.set(coupled)
    try:
        yield coupled
    finally:
        apart.reset(token)


@contextlib.contextmanager
def all_hidden() -> Iterator[None]:
    """Within it, a `RegularizedModel` shows none, so that Keras computes the task loss alone."""
    token = hidden.set(True)
    try:
        yield
    finally:
        hidden.reset(token)
