"""The table is measured: a process for each row and setting, and one for the memory of each variant."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .row import Row

Job = dict[str, Any]  # what to do, and after it also what was found

ROOT = Path(__file__).parent.parent
MALLOC = {"pooled": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}}
MEASURED = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # so that what is freed is given back
THREADS = [f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "OPENBLAS")]
THREADS += [f"TF_NUM_{kind}_THREADS" for kind in ("INTRAOP", "INTEROP")]
LONGEST = 3600.0  # seconds for a process


def jobs(row: Row, options: Any) -> list[Job]:
    """What there is to do for a row; times by every setting, unless it has to be quick."""
    common = {
        "row": row.name,
        "library": row.library,
        "shape": row.quick if options.quick else row.shape,
        "variants": row.timed(options.device),
        "device": options.device,
        "wall": options.wall,
        "plain": options.plain,
        "seconds": 0.0 if options.quick else options.seconds,
        "small": options.quick,
    }
    settings = row.settings(options.device)
    usual = "float32" if options.device == "cuda" else "default"
    timed = [{**common, "task": "timed", "setting": name} for name in ([usual] if options.quick else settings)]
    return timed + [{**common, "task": "measured", "setting": usual, "variant": name} for name in row.variants]


def run(todo: Iterable[Job], together: bool) -> Iterator[Job]:
    """The results, one by one. `together` puts jobs of a library that follow each other into one process."""
    apart = itertools.count()
    for _, batch in itertools.groupby(todo, lambda job: job["library"] if together else next(apart)):
        yield from _child(list(batch))


def environment(job: Job) -> dict[str, str]:
    """Threads, and how memory is handed out."""
    one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    own = {"XLA_FLAGS": "" if job["wall"] else one, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "MALLOC_"))}
    malloc = MEASURED if job["task"] == "measured" else MALLOC.get(job["setting"], {})
    return {**kept, **dict.fromkeys(THREADS, "2" if job["wall"] else "1"), **own, **malloc}


def _child(batch: list[Job]) -> Iterator[Job]:
    command = [sys.executable, "-m", "benchmarks.child", json.dumps(batch)]
    done = subprocess.run(command, cwd=ROOT, env=environment(batch[0]), capture_output=True, text=True, timeout=LONGEST)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"row"')]
    yield from lines
    for job in batch[len(lines) :]:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        yield {**job, "error": f"the process ended with exit status {done.returncode}: {last}"}
