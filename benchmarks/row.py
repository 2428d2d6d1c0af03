"""One row of the table: a penalty beside its peer, on arrays of a stated shape, and what it is to reach."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

import regcore

Shape = tuple[int, ...]
Step = Callable[[], tuple[Any, list[Any]]]  # forward and backward, giving a value and gradients
MODULES = {
    "torch": "torch_steps",
    "torch.compile": "torch_steps",
    "jax": "jax_steps",
    "tensorflow": "tensorflow_steps",
    "numpy": "numpy_steps",
}
CPU = {"torch": ("pooled", "default"), "torch.compile": ("pooled", "default"), "tensorflow": ("pooled", "default")}
CUDA = ("float32", "tf32", "bfloat16")
BY_HAND = "by hand"
LOOSE = (2e-2, 0.3)  # tolerances where products are in low precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """`peer` names a function of the module of the library; the empty name means that no peer fits into memory.

    `by_hand` names what does no more than the arithmetic, in `torch_by_hand` or the module of another library.

    A value agrees within `tolerance[0]` of the size of the peer's, a gradient within `tolerance[1]` of its norm. Where
    the peer only estimates, or does not fit, `oracle` names what takes its place at the quick shape.
    """

    name: str
    peer: str
    spec: Callable[[], regcore.Penalty]
    shape: Shape
    quick: Shape
    by_hand: str = ""
    library: str = "torch"
    kind: Literal["array", "many", "layers", "lstm"] = "array"
    faster: float | Mapping[str, float] | None = None  # at least: time of the peer over ours
    step: float | None = None  # at most: time of a training step with the penalty over that without
    seconds: float | None = None  # at most
    kernels: float | None = None  # at most, for each layer
    memory: float | None = None  # at most: extra memory of ours over that of the peer
    spare: float | None = None  # at most: extra memory of ours over the size of the input
    passes: float = 0.0  # how often each byte of the input has to be read or written
    flops: Callable[..., float] | None = None  # how many operations of matrix products are needed, by shape
    tolerance: tuple[float, float] = (1e-5, 1e-4)
    oracle: str = ""
    full: bool = False  # only if asked for

    def settings(self, device: str) -> tuple[str, ...]:
        """Ways of handing out memory on a CPU, number formats on a GPU."""
        if device == "cuda":
            return CUDA if self.kind == "array" else CUDA[:2]  # models are in float32
        return CPU.get(self.library, ("default",))

    def target(self, setting: str) -> float | None:
        """The least ratio of times."""
        return self.faster.get(setting) if isinstance(self.faster, Mapping) else self.faster

    def steps(self, shape: Shape, setting: str, device: str, plain: bool) -> dict[str, Step]:
        """What is measured, by the name of the variant, and "none" of a training step."""
        spec = regcore.plain(self.spec()) if plain else self.spec()
        make = getattr(importlib.import_module(f"benchmarks.{MODULES[self.library]}"), self.kind)
        found: dict[str, Step] = make(self, spec, shape, setting, device)
        return found

    @property
    def variants(self) -> tuple[str, ...]:
        """What memory is measured of, and what is timed beside what is written by hand."""
        return (*(["none"] if self.kind in ("layers", "lstm") else []), *(["peer"] if self.peer else []), "ours")

    def timed(self, device: str) -> tuple[str, ...]:
        """Variants to time; what is written by hand is for a CPU."""
        return (*self.variants, *([BY_HAND] if self.by_hand and device == "cpu" else []))


def arrays(spec: regcore.Penalty, shape: Shape) -> dict[str, np.ndarray]:
    """A normal x and the learned parameters, the same for every variant and every run."""
    rng = np.random.Generator(np.random.Philox(0))
    return {"x": rng.standard_normal(shape, dtype=np.float32), **spec.init()}


def difference(ours: tuple[Any, list[Any]], peer: tuple[Any, list[Any]]) -> tuple[float, float]:
    """Relative error of the value, and of all gradients by their norm; NaN is never small."""
    (value, gradients), (expected, others) = ours, peer
    pairs = [(as_numpy(one), as_numpy(other)) for one, other in zip(gradients, others, strict=True)]
    error = sum([float(np.sum((one - other) ** 2)) for one, other in pairs])
    norm = sum([float(np.sum(other**2)) for _, other in pairs])
    by_value = abs(float(value) - float(expected)) / abs(float(expected))
    return by_value, float((error / norm) ** 0.5)


def as_numpy(array: Any) -> np.ndarray:
    if type(array).__module__.startswith("torch"):
        array = array.detach().float().cpu()
    return np.asarray(array, dtype=np.float64)
