"""The references that are stored with the suite: a file for each penalty, and what they are references of.

A number is its nearest float64 and, in units of its last place, what that leaves: together more than a long double has,
so that a result in float64 can be judged to a fraction of a rounding. Noise scales are float64, because a slope such as
exp(-512) has one that float32 does not reach. Files are not compressed: the same numbers make the same bytes.
"""

import functools
import hashlib
import importlib.resources
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regcore import Penalty, to_config
from regcore.config import own

from . import noise
from .bound import Reference
from .cases import UPSTREAM, Case

FOLDER = "references"
NEVER = (1980, 1, 1, 0, 0, 0)  # the time of every file: the earliest that a zip archive can have


class Entry(NamedTuple):
    """The stored reference of one case: all of its results, one after the other."""

    digest: str  # of what it is the reference of
    longest: int
    high: np.ndarray  # float64
    low: np.ndarray  # float32, in units in the last place of `high`
    noise: np.ndarray  # float64


def find(case: Case) -> Reference | None:
    """The stored reference of a case of regcore's own penalties; None if there is none, or one of something else."""
    entry = _entry(case)
    return unpack(case, entry) if entry and entry.digest == digest(case) else None


def is_stale(case: Case) -> bool:
    """Whether the reference that is stored under the name of this case is one of other fields or data."""
    entry = _entry(case)
    return bool(entry and entry.digest != digest(case))


def digest(case: Case) -> str:
    """Of everything that a reference depends on, but for the formula: fields, data, and how noise is found."""
    told = [to_config(case.spec), UPSTREAM, noise.SEED, noise.SAMPLES, noise.SIZE]
    told += [[name, str(array.dtype), array.shape] for name, array in _arrays(case).items()]
    hasher = hashlib.sha256(json.dumps(told).encode())
    for array in _arrays(case).values():
        hasher.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
    return hasher.hexdigest()[:32]


def pack(case: Case, reference: Reference) -> Entry:
    """A reference as it is stored."""
    results, scales = (
        np.concatenate([np.ravel(arrays[name]) for name in _results(case)])
        for arrays in (reference.results, reference.noise)
    )
    high = results.astype(np.float64)
    finite = np.isfinite(high)
    low = ((np.where(finite, results, 0) - np.where(finite, high, 0)) / _place(high)).astype(np.float32)
    return Entry(digest(case), reference.longest, high, low, scales.astype(np.float64))


def unpack(case: Case, entry: Entry) -> Reference:
    """A reference as it is used."""
    exact, scales = entry.high + entry.low * _place(entry.high), entry.noise.astype(np.longdouble)
    results, noises, start = {}, {}, 0
    for name, shape in _results(case).items():
        stop = start + int(np.prod(shape))
        results[name], noises[name] = (numbers[start:stop].reshape(shape) for numbers in (exact, scales))
        start = stop
    return Reference(results, noises, case.spec.exact, entry.longest)


def write(path: Path, entries: Mapping[str, Entry]) -> None:
    """The references of a penalty, by case, as an archive that `numpy.load` reads."""
    columns = {
        "case": np.asarray(list(entries), dtype="S"),
        "digest": np.asarray([entry.digest for entry in entries.values()], dtype="S"),
        "longest": np.asarray([entry.longest for entry in entries.values()], dtype="<i4"),
        "size": np.asarray([entry.high.size for entry in entries.values()], dtype="<i4"),
        "high": np.concatenate([entry.high for entry in entries.values()]).astype("<f8"),
        "low": np.concatenate([entry.low for entry in entries.values()]).astype("<f4"),
        "noise": np.concatenate([entry.noise for entry in entries.values()]).astype("<f8"),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in columns.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", NEVER), buffer.getvalue())


@functools.cache
def read(penalty: str) -> dict[str, Entry]:
    """The stored references of a penalty by case: none, if there is no file of that name."""
    file = importlib.resources.files(__package__) / FOLDER / f"{penalty}.npz"
    if not file.is_file():
        return {}
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as columns:
        cases, digests, longest, size, high, low, scales = (
            columns[name] for name in ("case", "digest", "longest", "size", "high", "low", "noise")
        )
    parts = [np.split(numbers, np.cumsum(size)[:-1]) for numbers in (high, low, scales)]
    rows = zip(cases, digests, longest, *parts, strict=True)
    return {case.decode(): Entry(digest.decode(), int(longest), *rest) for case, digest, longest, *rest in rows}


def _place(high: np.ndarray) -> np.ndarray:
    """The unit in the last place, in long double; that of 0 where a number is not finite."""
    return np.spacing(np.abs(np.where(np.isfinite(high), high, 0))).astype(np.longdouble)


def _entry(case: Case) -> Entry | None:
    kind = _own().get(type(case.spec).__name__)
    return read(kind.__name__).get(case.id) if kind and isinstance(case.spec, kind) else None


@functools.cache
def _own() -> Mapping[str, type[Penalty]]:
    return own()


def _arrays(case: Case) -> dict[str, np.ndarray]:
    mask = {} if case.mask is None else {"mask": case.mask}
    return {"x": case.x, **case.params, **mask}


def _results(case: Case) -> dict[str, tuple[int, ...]]:
    """The shapes of the results, in the order in which they are stored."""
    by_params: dict[str, Any] = {name: param.shape for name, param in case.params.items() if param.dtype.kind == "f"}
    return {"value": (), "x": case.x.shape, **by_params}
