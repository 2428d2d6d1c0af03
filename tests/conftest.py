"""The array libraries that are installed, behind two functions each."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

if importlib.util.find_spec("torch"):
    import torch  # noqa: F401 - before TensorFlow, which otherwise may crash it


class Library(NamedTuple):
    name: str
    asarray: Callable[[Any], Any]
    asnumpy: Callable[[Any], np.ndarray]


def _load(name: str) -> Library:
    module = pytest.importorskip(name, reason=f"{name} is not installed")
    if name == "torch":
        return Library(name, module.asarray, lambda a: a.detach().numpy())
    if name == "tensorflow":
        return Library(name, module.convert_to_tensor, lambda a: a.numpy())
    return Library(name, (module.numpy if name == "jax" else module).asarray, np.asarray)


@pytest.fixture(params=["numpy", "array_api_strict", "torch", "jax", "tensorflow"])
def library(request):
    """Each array library in turn, skipped with a reason where it is not installed."""
    return _load(request.param)
