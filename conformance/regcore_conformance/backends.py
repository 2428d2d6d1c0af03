"""The backends that can be put under test in this process: which there are, and each with its precision policy set.

An installed package adds one under the entry point group `regcore.conformance_backends`, in its `pyproject.toml`:

    [project.entry-points."regcore.conformance_backends"]
    acme = "acme.conformance:backend"

`backend()` returns a description, with versions, and {mode: evaluate}; see `regcore_conformance.runners`. It raises
`NotHere` or ImportError where it cannot run.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runners import Evaluate

GROUP = "regcore.conformance_backends"
LIBRARIES: dict[str, dict[str, tuple[str, ...]]] = {  # the backends of each library, by device
    "numpy": {"cpu": ("numpy",)},
    "array-api-strict": {"cpu": ("array-api-strict",)},
    "torch": {"cpu": ("torch:cpu",), "gpu": ("torch:cuda",)},  # before TensorFlow, which may crash it if imported first
    "jax": {"cpu": ("jax:cpu", "jax:cpu:x64"), "gpu": ("jax:gpu",)},
    "tensorflow": {"cpu": ("tensorflow:cpu",)},
}
DEVICES = ("cpu", "gpu")

Entered = AbstractContextManager[tuple[str, "dict[str, Evaluate]"]]  # a description, and {mode: evaluate}


class NotHere(Exception):
    """What a backend needs is not on this machine."""


def declared() -> dict[str, importlib.metadata.EntryPoint]:
    """The backends of installed packages by name; loads none. One whose name is taken is left out, with a warning."""
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name in LIBRARIES or found.setdefault(entry.name, entry) != entry:
            text = f"the backend {entry.name} = {entry.value!r} has a name that is taken, and is left out: rename it"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
    return found


def missing() -> list[str]:
    """Which libraries are not installed; imports none."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name.replace("-", "_")) is None]


def chosen(libraries: Iterable[str] | None = None, device: str = "cpu") -> list[str]:
    """The backends of these libraries, of all if there are none given, on a device; those of packages choose their own.

    Raises ValueError for a library or device that is not known, and for a library that has none on that device.

    >>> chosen(["numpy", "jax"])
    ['numpy', 'jax:cpu', 'jax:cpu:x64']
    """
    others = declared()
    names = [*LIBRARIES, *others] if libraries is None else list(libraries)
    if unknown := [name for name in names if name not in LIBRARIES and name not in others]:
        raise ValueError(f"no backend is called {unknown}; choose from {[*LIBRARIES, *others]}")
    if device not in DEVICES:
        raise ValueError(f"there is no device {device!r}; choose from {list(DEVICES)}")
    found = {name: (name,) if name in others else LIBRARIES[name].get(device, ()) for name in names}
    if libraries is not None and (bare := [name for name in names if not found[name]]):
        here = [name for name, of in LIBRARIES.items() if device in of]
        raise ValueError(f"{bare} is not run on a {device}; choose from {[*here, *others]}")
    return [backend for several in found.values() for backend in several]


def entered(backend: str) -> Entered:
    """A backend of `chosen`, with its precision policy set; what was set before comes back afterwards.

    Entering it raises ImportError and NotHere for what is not on this machine.
    """
    library, _, device = backend.partition(":")
    return _ENTER[library](device) if library in _ENTER else _of_a_package(declared()[backend])


@contextlib.contextmanager
def _of_a_package(entry: importlib.metadata.EntryPoint) -> Iterator[tuple[str, "dict[str, Evaluate]"]]:
    description, evaluators = entry.load()()
    yield description, evaluators


@contextlib.contextmanager
def _array_api(module: str, device: str) -> Iterator[Any]:
    xp = importlib.import_module(module)
    from .runners import array_api

    yield f"{module} {xp.__version__}", array_api.evaluators(xp)


@contextlib.contextmanager
def _torch(device: str) -> Iterator[Any]:
    import torch
    import torch._dynamo

    from .runners import torch as runner

    if device == "cuda" and not torch.cuda.is_available():
        raise NotHere("torch finds no CUDA device")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # otherwise it falls back to eager silently
            yield f"torch {torch.__version__}, float32 products highest", runner.evaluators(device)
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _jax(device: str) -> Iterator[Any]:
    import jax

    from .runners import jax as runner

    device, _, x64 = device.partition(":")
    try:
        jax.devices(device)
    except RuntimeError:
        raise NotHere(f"jax finds no {device}") from None
    with jax.enable_x64(bool(x64)), jax.default_matmul_precision("highest"):
        yield f"jax {jax.__version__}, x64 {'on' if x64 else 'off'}, products highest", runner.evaluators(device)


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


_ENTER: dict[str, Callable[[str], Entered]] = {
    "numpy": functools.partial(_array_api, "numpy"),
    "array-api-strict": functools.partial(_array_api, "array_api_strict"),
    "torch": _torch,
    "jax": _jax,
    "tensorflow": _tensorflow,
}
