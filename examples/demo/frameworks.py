"""The frameworks of the demo, each of which runs in a process of its own."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Framework(NamedTuple):
    title: str
    package: str
    needs: tuple[str, ...]
    extras: str

    @property
    def missing(self) -> list[str]:
        return [module for module in self.needs if importlib.util.find_spec(module) is None]

    @property
    def label(self) -> str:
        return f"{self.title} {importlib.metadata.version(self.package)}"


FRAMEWORKS = {
    "torch": Framework("PyTorch", "torch", ("torch",), "torch"),
    "flax": Framework("Flax", "flax", ("jax", "flax", "optax"), "flax"),
    "keras": Framework("Keras", "keras", ("tensorflow", "keras"), "tensorflow,keras"),
}

ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # about which TensorFlow would write to the terminal
    # Matrices of 64 x 64 are not worth a second thread, and PyTorch's would wait for each other.
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


def run(name: str, activations: dict[str, np.ndarray], arguments: list[str]) -> dict[str, Any]:
    """What `examples.demo.experiment` found; its progress goes to the terminal. CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "activations.npz", **activations)
        command = [sys.executable, "-m", "examples.demo.experiment", name, folder, *arguments]
        subprocess.run(command, check=True, env={**os.environ, **ENVIRONMENT})
        return json.loads((Path(folder) / "result.json").read_text())
