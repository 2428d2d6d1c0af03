"""What a run took place on: no name of the machine, and no path."""

import importlib.metadata
import os
import platform
from pathlib import Path

import regcore

LIBRARIES = ("numpy", "torch", "jax", "tensorflow", "tensorflow-cpu")
CPUINFO = Path("/proc/cpuinfo")


def describe(wall: bool, plain: bool, device: str) -> dict[str, str]:
    installed = {package.name: package.version for package in importlib.metadata.distributions()}
    load = f"{os.getloadavg()[0]:.1f}"
    return {
        "cpu": f"{_cpu()}, {os.cpu_count()} cores, load {load} at the start",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "regcore": regcore.__version__ + (", plain forms" if plain else ""),
        **{name: installed[name] for name in LIBRARIES if name in installed},
        "clock": "time on the wall, 2 threads" if wall else "CPU time of the process, 1 thread",
        "cuda": _cuda() if device == "cuda" else "",
    }


def _cpu() -> str:
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _cuda() -> str:
    import torch

    return str(torch.cuda.get_device_name())
