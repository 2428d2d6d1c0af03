"""Long reductions: a small batch again and again, so that the true results follow from those of the small one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

import regcore
from regcore import L1, L2, TAR, BatchEntropy, KLSparsity, Penalty, Variance

from .bound import Judged, Reference, reference
from .cases import UPSTREAM, Case, philox_key
from .generator import bell

ENTRIES = 2**17  # more than float16 can count
THIRDS = 1_000_000  # of 1/3, of which a sum that is taken one by one is far off
SPECS: dict[str, tuple[Penalty, tuple[int, ...]]] = {  # with the shape of a small batch, and "sum" for what is no mean
    "L1/0/long": (L1(), (64, 2)),
    "L2/0/long": (L2(), (64, 2)),
    "L2/0/long sum": (L2(reduction="sum"), (64, 2)),
    "TAR/0/long": (TAR(), (16, 4, 2)),
    "KLSparsity/0/long": (KLSparsity(), (64, 2)),
    "Variance/0/long": (Variance(correction=0), (64, 2)),
    "BatchEntropy/0/long": (BatchEntropy(correction=0), (64, 2)),
    "L2/0/thirds": (L2(), (2, 2)),
    "BatchEntropy/0/thirds": (BatchEntropy(correction=0), (2, 2)),
}


def long_cases(kinds: Iterable[type[regcore.Penalty]] = (), seed: int = 0) -> Iterator[Case]:
    chosen = {kind.__name__ for kind in kinds}
    for name, (spec, shape) in SPECS.items():
        if not chosen or name.split("/")[0] in chosen:
            small = _small(name, shape, seed)
            x = np.tile(small, (_times(name, small), *(1,) * (small.ndim - 1)))
            yield Case(name, spec, x, spec.init(), None)


def is_long(case: Case) -> bool:
    return case.id in SPECS


def compact(case: Case, results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Instead of the gradient of all repetitions their smallest and their largest, which are to be the same."""
    if "x" not in results or results["x"].shape != case.x.shape:
        return dict(results)
    each = results["x"].reshape(-1, *SPECS[case.id][1])
    return {**results, "x": np.stack([each.min(axis=0), each.max(axis=0)])}


class Long(NamedTuple):
    """The reference of the small batch, and how often it is repeated in a mean or in a sum."""

    small: Reference
    times: int
    is_sum: bool

    def judge(self, results: Mapping[str, np.ndarray], *, exact: bool) -> dict[str, Judged]:
        return self.reference().judge(results, exact=exact)

    def reference(self) -> Reference:
        value, by_x = (self.times, 1) if self.is_sum else (1, np.longdouble(1) / self.times)
        factors = {"value": value, "x": np.full((2, *(1,) * self.small.results["x"].ndim), by_x)}
        scaled = (
            {name: array * factors.get(name, 1) for name, array in arrays.items()}
            for arrays in (self.small.results, self.small.noise)
        )
        return Reference(*scaled, exact=False, longest=self.small.longest * self.times)


def truth(case: Case) -> Long:
    shape = SPECS[case.id][1]
    small = reference(case.spec, case.x[: shape[0]], case.params, upstream=UPSTREAM)
    return Long(small, len(case.x) // shape[0], case.id.endswith("sum"))


def _small(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if name.endswith("thirds"):
        return np.full(shape, np.float32(1 / 3), dtype=np.float64)
    return bell(philox_key(f"{name} {seed}" if seed else name), shape)


def _times(name: str, small: np.ndarray) -> int:
    return (THIRDS if name.endswith("thirds") else ENTRIES) // small.size
