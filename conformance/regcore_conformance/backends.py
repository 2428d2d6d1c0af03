"""The backends that can be put under test in this process: which there are, and each with its precision policy set.

An installed package adds one under the entry point group `regcore.conformance_backends`, in its `pyproject.toml`:

    [project.entry-points."regcore.conformance_backends"]
    acme = "acme.conformance:backend"

`backend()` returns a description, with versions, and {mode: evaluate}; see `regcore_conformance.runners`. It raises
`NotHere` or ImportError where it cannot run.
"""

import contextlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Iterable, Iterator

from .policies import ENTER, Entered, Evaluators
from .policies import NotHere as NotHere

GROUP = "regcore.conformance_backends"
LIBRARIES: dict[str, dict[str, tuple[str, ...]]] = {  # the backends of each library, by device
    "numpy": {"cpu": ("numpy",)},
    "array-api-strict": {"cpu": ("array-api-strict",)},
    "torch": {"cpu": ("torch:cpu",), "gpu": ("torch:cuda",)},  # before TensorFlow, which may crash it if imported first
    "jax": {"cpu": ("jax:cpu", "jax:cpu:x64"), "gpu": ("jax:gpu",)},
    "tensorflow": {"cpu": ("tensorflow:cpu",)},
    "cupy": {"gpu": ("cupy",)},
}
ASKED_FOR = {"keras": {"cpu": ("keras",)}}  # its first import chooses a backend for the whole process
KERAS = ("keras:tensorflow", "keras:jax", "keras:torch")  # each in a process of its own
DEVICES = ("cpu", "gpu")


def declared() -> dict[str, importlib.metadata.EntryPoint]:
    """The backends of installed packages by name; loads none. One whose name is taken is left out, with a warning."""
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name in ENTER or found.setdefault(entry.name, entry) != entry:
            text = f"the backend {entry.name} = {entry.value!r} has a name that is taken, and is left out: rename it"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
    return found


def missing() -> list[str]:
    """Which libraries are not installed, of those that run on a CPU; imports none."""
    everywhere = [name for name, of in {**LIBRARIES, **ASKED_FOR}.items() if "cpu" in of]
    return [name for name in everywhere if importlib.util.find_spec(name.replace("-", "_")) is None]


def chosen(libraries: Iterable[str] | None = None, device: str = "cpu") -> list[str]:
    """The backends of these libraries, of all if there are none given, on a device; those of packages choose their own.

    Keras is not among all of them: "keras" is asked for, and is Keras on the backend that it has in this process.
    Raises ValueError for a library or device that is not known, and for a library that has none on that device.

    >>> chosen(["numpy", "jax"])
    ['numpy', 'jax:cpu', 'jax:cpu:x64']
    """
    others = declared()
    known = {**LIBRARIES, **ASKED_FOR}
    names = [*LIBRARIES, *others] if libraries is None else list(libraries)
    if unknown := [name for name in names if name not in known and name not in others]:
        raise ValueError(f"no backend is called {unknown}; choose from {[*known, *others]}")
    if device not in DEVICES:
        raise ValueError(f"there is no device {device!r}; choose from {list(DEVICES)}")
    found = {name: (name,) if name in others else known[name].get(device, ()) for name in names}
    if libraries is not None and (bare := [name for name in names if not found[name]]):
        here = [name for name, of in known.items() if device in of]
        raise ValueError(f"{bare} is not run on a {device}; choose from {[*here, *others]}")
    return [backend for several in found.values() for backend in several]


def entered(backend: str) -> Entered:
    """A backend of `chosen` or `KERAS`, with its precision policy set; what was set before comes back afterwards.

    Entering it raises ImportError and NotHere for what is not on this machine.
    """
    library, _, device = backend.partition(":")
    return ENTER[library](device) if library in ENTER else _of_a_package(declared()[backend])


@contextlib.contextmanager
def _of_a_package(entry: importlib.metadata.EntryPoint) -> Iterator[tuple[str, Evaluators]]:
    description, evaluators = entry.load()()
    yield description, evaluators
