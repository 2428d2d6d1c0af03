"""Cells that are known to be wrong, with the reason: such a cell is "xfail", and in `KNOWN` one that is right fails."""

from typing import NamedTuple

import numpy as np

from regcore import CodingRate, NuclearNorm, Penalty, SpectralIsometry
from regcore.moments import units_last
from regcore.vectors import rows

from .cases import Case

SVD = "the decomposition is differentiated where singular values are equal, or 0: NaN, or in TensorFlow a wrong number"
GRAM = "singular values over replicas are those of a sum of second moments, which squares what the offset costs"
TIES = "of more than two largest cosines of a vector, blocks take the first and the last"
FAST = ("float64", "float32")
SHARP = ("float64", "exact", "exact float16", "exact bfloat16")


class Known(NamedTuple):
    libraries: tuple[str, ...]
    mode: str
    grades: tuple[str, ...]
    cases: tuple[str, ...]
    reason: str


KNOWN = (
    Known(("numpy", "torch"), "blocks", SHARP, ("MaxCosine/0/twins",), TIES),
    Known(("jax", "tensorflow"), "panels", SHARP, ("MaxCosine/0/twins",), TIES),
    Known(("numpy", "array-api-strict", "torch", "jax"), "shards", FAST, ("CodingRate/0/offset",), GRAM),
    Known(("numpy", "array-api-strict", "torch"), "shards", FAST, ("CodingRate/1/offset", "CodingRate/3/offset"), GRAM),
)


def to_fail(backend: str, mode: str, grade: str, case: str) -> str:
    """Why a cell is expected to be wrong, or ""."""
    for known in KNOWN:
        if (
            backend.split(":")[0] in known.libraries
            and (mode, case) in {(known.mode, each) for each in known.cases}
            and grade in known.grades
        ):
            return known.reason
    return ""


def may_fail(mode: str, case: Case) -> str:
    """Why a second derivative may be wrong, which depends on the data, or "".

    With singular values that are equal or 0 it is wrong in some libraries and for some seeds, so that one that is right
    is no failure.
    """
    matrix = _decomposed(case.spec, case.x) if mode == "second" else None
    if matrix is None:
        return ""
    s = np.linalg.svd(matrix, compute_uv=False)
    gaps = [*(s[:-1] - s[1:]), s[-1]]
    return SVD if min(gaps) <= 1e-6 * s[0] else ""


def _decomposed(spec: Penalty, x: np.ndarray) -> np.ndarray | None:
    """The matrix of which the penalty takes singular values, if it does."""
    if isinstance(spec, (NuclearNorm, SpectralIsometry)):
        return np.asarray(rows(np, x, spec.vector_axis))
    if not isinstance(spec, CodingRate):
        return None
    samples = units_last(np, x, spec.batch(x.shape))
    samples = samples.reshape(-1, samples.shape[-1])
    return samples - samples.mean(axis=0) if spec.centre else samples
