"""A process for each library, two at a time, and everything that they hand over, as it comes."""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from . import streaming
from .evaluating import Cell
from .selection import Selection
from .worker import Outcome

AT_ONCE = 2
TICK = 0.25  # seconds
ORACLE = "oracle"  # the names of the processes that compute references start with it
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
DEFAULTS = {**dict.fromkeys(THREADS, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"}  # of each process: two run at once
START = "from regcore_conformance.worker import main; main()"  # not -m, which would make its classes those of __main__


def messages(jobs: Sequence[list[str]], selection: Selection) -> Iterator[Any]:
    """What the processes of all jobs hand over, as it comes, and None where nothing came for a while."""
    queue: SimpleQueue[Any] = SimpleQueue()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(_work, job, selection, queue.put) for job in jobs]
        try:
            while not all(job.done() for job in running) or not queue.empty():
                try:
                    yield queue.get(timeout=TICK)
                except Empty:
                    yield None
        finally:
            pool.shutdown(cancel_futures=True)
    for job in running:
        job.result()


def _work(job: list[str], selection: Selection, put: Callable[[Any], None]) -> None:
    """One process: all that it hands over, and then, unless it ended well, that it did not."""
    start = time.monotonic()
    put(streaming.Started(job))
    command = [sys.executable, "-c", START, ",".join(job), json.dumps(selection._asdict())]
    environment = {**DEFAULTS, **os.environ}
    library, _, backend = job[0].partition(":")
    if library in ("keras", "regcore_keras"):
        environment["KERAS_BACKEND"] = backend  # Keras reads it once, when it is imported
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors) as process:
            left = _hand_on(process.stdout, job, put)
        if process.returncode or left:
            errors.seek(0)
            _crashed(left or job[-1:], process.returncode, errors.read().decode(errors="replace"), put)
    put(streaming.Finished(job, time.monotonic() - start))


def _hand_on(pipe: Any, job: list[str], put: Callable[[Any], None]) -> list[str]:
    """All messages of a process; what comes back is which of its names it did not finish."""
    left = list(job)
    messages = streaming.received(pipe)
    while left and (message := next(messages, None)) is not None:
        put(message)
        if isinstance(message, streaming.Ended):
            left.remove(message.name)
    return left


def _crashed(left: list[str], code: int, errors: str, put: Callable[[Any], None]) -> None:
    """What was handed over before stays; the process is an error in each backend that it had not finished."""
    if left[0].startswith(ORACLE):
        raise RuntimeError(f"the oracle failed:\n{errors}")
    for name in left:
        crash = f"the worker ended with {code}: {errors[-2000:]}"
        put(Outcome(name, "", (Cell("start", "", "step", "error", crash),)))
