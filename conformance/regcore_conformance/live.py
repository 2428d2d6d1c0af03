"""A run while it goes on: a matrix that is redrawn in place in a terminal, and elsewhere a line for each process."""

import shutil
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from .picture import Text, picture
from .progress import Progress

Watch = Callable[[Progress, str], None]

COLOURS = {"good": "32", "bad": "1;37;41", "busy": "36", "late": "33", "faint": "2", "head": "1", "": ""}
OFTEN = 0.25  # seconds from one picture to the next


def watcher(stream: TextIO) -> Watch:
    """How to follow a run on this stream."""
    return Screen(stream) if stream.isatty() else lambda progress, news: _line(stream, news)


def _line(stream: TextIO, news: str) -> None:
    if news:
        print(news, file=stream, flush=True)


class Screen:
    """The matrix in a terminal, which moves up over the picture before and draws the next one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._last, self._height = 0.0, 0

    def __call__(self, progress: Progress, news: str) -> None:
        now = time.monotonic()
        if now - self._last < OFTEN and progress.ended < progress.jobs:
            return
        lines = picture(progress, now - self._start, *shutil.get_terminal_size())
        up = f"\x1b[{self._height}F" if self._height else ""
        self._stream.write(up + "".join(f"{_painted(line)}\x1b[K\n" for line in lines) + "\x1b[J")
        self._stream.flush()
        self._last, self._height = now, len(lines)


def _painted(line: Iterable[Text]) -> str:
    return "".join(_paint(text.rstrip(), colour) + text[len(text.rstrip()) :] for text, colour in line)


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if text and COLOURS[colour] else text
