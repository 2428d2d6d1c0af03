"""Cells that are known to be wrong, with the reason: such a cell is "xfail", and one that comes right is a failure."""

from typing import NamedTuple

SVD = "the decomposition is differentiated where singular values are equal, or 0: NaN, or in TensorFlow a wrong number"
GRAM = "singular values over replicas are those of a sum of second moments, which squares what the offset costs"
FAST = ("float64", "float32")


class Known(NamedTuple):
    libraries: tuple[str, ...]
    mode: str
    grades: tuple[str, ...]
    cases: tuple[str, ...]
    reason: str


KNOWN = (
    Known(("torch", "jax"), "second", ("float64",), ("CodingRate/0/ties", "CodingRate/0/dead"), SVD),
    Known(("torch", "jax"), "second", ("float64",), ("NuclearNorm/0/relu", "NuclearNorm/0/dead"), SVD),
    Known(("torch", "jax", "tensorflow"), "second", ("float64",), ("NuclearNorm/0/ties",), SVD),
    Known(("torch", "jax"), "second", ("float64",), ("SpectralIsometry/0/ties", "SpectralIsometry/0/dead"), SVD),
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
