"""What a worker hands over while it runs: messages through a pipe of their own, which nothing else can write to."""

import os
import pickle
import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

OFTEN = 1.0  # seconds from one block to the next


class Plan(NamedTuple):
    """A backend has started: its versions, and how many cells it has in each mode and grade."""

    name: str
    description: str
    ways: dict[tuple[str, str], int]


class References(NamedTuple):
    """True results by case, or what is wrong where there is none."""

    name: str
    truths: dict[str, Any]


class Started(NamedTuple):
    """The process of these names has been started."""

    names: list[str]


class Finished(NamedTuple):
    """The process of these names has ended, well or not, after so many seconds."""

    names: list[str]
    seconds: float


class Ended(NamedTuple):
    """A backend is through, after so many seconds."""

    name: str
    seconds: float


def own_pipe() -> IO[bytes]:
    """What standard output was. From here on everything that is printed, by libraries in C too, goes to standard error.

    Processes that this one starts do not hold it open.
    """
    sys.stdout.flush()
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def send(message: Any, pipe: IO[bytes]) -> None:
    """Hand over one message, now."""
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def received(pipe: IO[bytes]) -> Iterator[Any]:
    """The messages of a worker until it ends; one that was cut off by a crash is left out."""
    while True:
        try:
            yield pickle.load(pipe)
        except (EOFError, pickle.UnpicklingError):
            return


def blocks(cells: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Cells in blocks: of one mode and grade each, and of what was done in about a second."""
    block: list[Any] = []
    since = time.monotonic()
    for cell in cells:
        if block and ((cell.mode, cell.grade) != (block[-1].mode, block[-1].grade) or time.monotonic() - since > OFTEN):
            yield tuple(block)
            block, since = [], time.monotonic()
        block.append(cell)
    if block:
        yield tuple(block)
