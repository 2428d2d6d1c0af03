"""What is recorded beside the stored references: how they were made, and how well each is founded."""

import collections
import math
import platform
from collections.abc import Iterable, Mapping
from typing import Any

import gmpy2
import numpy as np

from . import digits, oracle
from .formulas import arithmetic


def of_penalty(origins: Iterable["collections.Counter[str]"], roundings: float) -> dict[str, Any]:
    """How many cases there are, where the entries of their gradients come from, and how far the penalty's code is off.

    A "difference" is one of the transcription. At a "kink" and where a slope is "unseen" beside the value, the entry is
    that of the closed form: between the slopes of both sides, or nearly 0 as they are. At a "jump" it is 0.
    """
    cases = list(origins)
    found = sum(cases, start=collections.Counter())
    return {"cases": len(cases), **dict(sorted(found.items())), "roundings": round(roundings, 3)}


def of_all(described: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The whole record, from that of each penalty."""
    return {
        "command": command,
        "made with": versions(),
        "decimal digits": {"transcription": _digits(arithmetic.BITS), "code": _digits(digits.BITS)},
        "step of differences": oracle.STEP,
        "cases": sum(each["cases"] for each in described.values()),
        "penalties": dict(sorted(described.items())),
    }


def versions() -> dict[str, str]:
    mpfr = gmpy2.mpfr_version().removeprefix("MPFR ")
    return {"python": platform.python_version(), "numpy": np.__version__, "gmpy2": gmpy2.version(), "mpfr": mpfr}


def _digits(bits: int) -> int:
    return int(bits * math.log10(2))
