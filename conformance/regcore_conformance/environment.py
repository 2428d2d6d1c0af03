"""Where a run took place: the versions of Python and regcore, the system, the processor, and the GPUs."""

import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import regcore

CPUINFO = Path("/proc/cpuinfo")  # where Linux names the processor; the platform module does not
NVIDIA = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]


def environment() -> dict[str, str]:
    """By what it is the version or name of; the libraries under test describe themselves.

    "gpu" is empty where no NVIDIA driver answers. The name of the machine is not part of it.
    """
    return {
        "regcore": regcore.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(CPUINFO),
        "gpu": _gpu(NVIDIA),
    }


def _cpu(path: Path) -> str:
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (
        "; ".join(f"{line.replace(', ', ', driver ')}" for line in done.stdout.splitlines())
        if not done.returncode
        else ""
    )
