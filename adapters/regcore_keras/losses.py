"""Which losses someone sees who reads them from a model, because not all of them are to be added up."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

Tensor = Any  # a tensor of the library that Keras runs on


@dataclasses.dataclass
class Collected:
    """What one reading of a model's losses found beside those that are added up."""

    coupled: list[Tensor] = dataclasses.field(default_factory=list)  # they multiply the task loss
    silent: tuple[str, ...] = ()  # paths of sites that have none


apart: contextvars.ContextVar[Collected | None] = contextvars.ContextVar("apart", default=None)
hidden: contextvars.ContextVar[bool] = contextvars.ContextVar("hidden", default=False)


@contextlib.contextmanager
def coupled_apart() -> Iterator[Collected]:
    """Within it, those that multiply the task loss are left out, and put into what is given here."""
    collected = Collected()
    token = apart.set(collected)
    try:
        yield collected
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
