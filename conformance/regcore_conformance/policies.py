"""How each library is entered: what it is on, its precision policy, which is put back afterwards, and its modes."""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

Evaluators = dict[str, Callable[..., Any]]  # by mode; see `runners`
Entered = AbstractContextManager[tuple[str, Evaluators]]  # with a description


class NotHere(Exception):
    """What a backend needs is not on this machine, or not in this process."""


@contextlib.contextmanager
def _array_api(module: str, device: str) -> Iterator[Any]:
    xp = importlib.import_module(module)
    from .runners import array_api

    yield f"{module} {xp.__version__}", array_api.evaluators(xp)


@contextlib.contextmanager
def _cupy(device: str) -> Iterator[Any]:
    import cupy

    from .runners import array_api

    if not cupy.cuda.is_available():
        raise NotHere("cupy finds no CUDA device")
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    description = f"cupy {cupy.__version__} on {name}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}"
    yield description, array_api.evaluators(cupy, cupy.asnumpy)


@contextlib.contextmanager
def _torch(device: str) -> Iterator[Any]:
    import torch
    import torch._dynamo

    from .runners import torch as runner

    if device == "cuda" and not torch.cuda.is_available():
        raise NotHere("torch finds no CUDA device")
    on = f" on {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}" if device == "cuda" else ""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # TF32 off
    try:
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # otherwise it falls back to eager silently
            yield f"torch {torch.__version__}{on}, float32 products highest", runner.evaluators(device)
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _jax(device: str) -> Iterator[Any]:
    import jax

    from .runners import jax as runner

    device, _, x64 = device.partition(":")
    try:
        place = jax.devices(device)[0]
    except RuntimeError:
        raise NotHere(f"jax finds no {device}") from None
    on = "" if device == "cpu" else f" on {place.device_kind}, {' '.join(place.client.platform_version.split())}"
    with jax.enable_x64(bool(x64)), jax.default_matmul_precision("highest"):
        yield f"jax {jax.__version__}{on}, x64 {'on' if x64 else 'off'}, products highest", runner.evaluators(device)


@contextlib.contextmanager
def _tensorflow(device: str) -> Iterator[Any]:
    import tensorflow as tf

    from .runners import tensorflow as runner

    if device == "gpu":
        here = tf.config.list_physical_devices("GPU")
        raise NotHere("TensorFlow is not placed on a GPU yet" if here else "tensorflow finds no GPU")
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        with tf.device("/CPU:0"):  # which is not the default where there is a GPU
            yield f"tensorflow {tf.__version__}, TF32 off", runner.evaluators()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextlib.contextmanager
def _keras(backend: str) -> Iterator[Any]:
    """Keras within the policy of its backend, on the CPU; an empty name is whatever backend it has."""
    import keras

    own = keras.backend.backend()
    if backend not in ("", own):
        raise NotHere(f"Keras runs on {own} in this process, for good: start it with KERAS_BACKEND={backend}")
    if own not in ("tensorflow", "jax", "torch"):
        raise NotHere(f"Keras does not train on {own}: start the process with KERAS_BACKEND=jax, for instance")
    from .runners import keras as runner

    double = ", x64 on for float64" if own == "jax" else ""
    with ENTER[own]("cpu") as (description, _), keras.device("cpu"):
        yield f"keras {keras.__version__} on {description}{double}", runner.evaluators()


ENTER: dict[str, Callable[[str], Entered]] = {  # by library; the argument is the device, and for Keras its backend
    "numpy": functools.partial(_array_api, "numpy"),
    "array-api-strict": functools.partial(_array_api, "array_api_strict"),
    "cupy": _cupy,
    "torch": _torch,
    "jax": _jax,
    "tensorflow": _tensorflow,
    "keras": _keras,
}
