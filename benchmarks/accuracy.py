"""Values of 2^27 normal numbers against float64, and whether they depend on the number of threads."""

import json
import subprocess
import sys
from typing import Any

import numpy as np

import regcore

from .running import ROOT, environment
from .table import described, grid

LIBRARIES = ("numpy", "torch", "jax", "tensorflow")
PENALTIES = {"AR": regcore.AR, "L1": regcore.L1, "TAR": regcore.TAR}
SHAPE, QUICK = (128, 1024, 1024), (2, 16, 32)
BOUND = 1e-6


def measure(options: Any) -> dict[str, Any]:
    """For each library a process with one thread, and one with two."""
    found = {library: [_child(library, threads, options.quick) for threads in (1, 2)] for library in LIBRARIES}
    return {"shape": list(QUICK if options.quick else SHAPE), "sums": found}


def _child(library: str, threads: int, quick: bool) -> dict[str, Any]:
    env = environment({"task": "timed", "setting": "default", "wall": threads == 2})
    command = [sys.executable, "-m", "benchmarks.accuracy", library, str(int(quick))]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        return {"error": " ".join(done.stderr.strip().splitlines()[-1:])}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    library, quick = sys.argv[1], sys.argv[2] == "1"
    rng = np.random.Generator(np.random.Philox(0))
    x = rng.standard_normal(QUICK if quick else SHAPE, dtype=np.float32)
    array = _asarray(library, x)
    found = {}
    for name, penalty in PENALTIES.items():
        value, expected = float(penalty()(array)), _expected(name, x)
        found[name] = {"value": value.hex(), "error": abs(value - expected) / expected}
    print(json.dumps(found))


def _expected(name: str, x: np.ndarray) -> float:
    """In float64, a sample at a time; the samples by NumPy's pairwise sum, and those sums once more by it."""
    formulas = {"AR": np.square, "L1": np.abs, "TAR": lambda row: np.square(np.diff(row, axis=0))}
    parts = [formulas[name](row.astype(np.float64)) for row in x]
    return float(np.sum([np.sum(part) for part in parts]) / sum([part.size for part in parts]))


def _asarray(library: str, x: np.ndarray) -> Any:
    if library == "torch":
        import torch

        return torch.from_numpy(x)
    if library == "jax":
        import jax.numpy as jnp

        return jnp.asarray(x)
    if library == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(x)
    return x


def tables(results: dict[str, Any]) -> str:
    head = ["library", "penalty", "error, 1 thread", "error, 2 threads", f"at most {BOUND:g}", "same bits"]
    lines = [line for library, runs in results["sums"].items() for line in _lines(library, runs)]
    numbers = "x".join(map(str, results["shape"]))
    return "\n".join([described(results), "", f"x: {numbers}.", "", grid(head, lines)])


def _lines(library: str, runs: list[dict[str, Any]]) -> list[list[str]]:
    if errors := [run["error"] for run in runs if "error" in run]:
        return [[library, "-", errors[0], "-", "-", "-"]]
    found = []
    for name in PENALTIES:
        errors = [run[name]["error"] for run in runs]
        same = len({run[name]["value"] for run in runs}) == 1
        within = all(error <= BOUND for error in errors)
        found.append([library, name, *(f"{e:.1e}" for e in errors), *("yes" if t else "no" for t in (within, same))])
    return found


if __name__ == "__main__":
    main()
