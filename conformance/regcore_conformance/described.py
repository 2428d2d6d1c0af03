"""What the data of a case are, in words, and the Philox key that they are made from."""

from .cases import philox_key
from .edges import SHAPES, VALUES

PATTERNS = {
    "dense": "bell-shaped numbers, multiples of 1/64 below 2",
    "relu": "dense, and what is below 0 is exactly 0, where |x| has its kink",
    "ties": "dense, rounded towards 0: few distinct numbers",
    "constant": "the first unit is 0.5 everywhere: no variance",
    "dead": "the first unit is 0 everywhere",
    "zero row": "the first sample is 0 everywhere: a vector without direction",
    "twins": "equal and opposite samples",
    "offset": "dense, plus 64: differences cancel",
    "small": "dense, times 2^-6",
    "scales": "units of four different sizes, 1 to 1/64",
    "nan": "dense, and the first entry is NaN",
    "inf": "dense, and the first entry is infinite",
    "huge": "dense, times 2^66, whose square overflows in float32",
    "subnormal": "dense, times 2^-134: subnormal numbers in float32",
    "empty": "no samples at all",
    "batch of 1": "one sample",
    "time of 1": "one time step",
    "long": "a small dense batch repeated to 131,072 entries",
    "long sum": "a small dense batch repeated to 131,072 entries, and their sum",
    "thirds": "a million entries of 1/3",
}


def pattern(case: str) -> str:
    """The data of a case in words; "" for a pattern that has none."""
    return PATTERNS.get(_last(case), "")


def at_an_edge(case: str) -> bool:
    """Whether this is the name of a case at an edge of the domain."""
    return _last(case) in VALUES or _last(case) in SHAPES


def key(case: str, seed: int) -> str:
    """The Philox key of a case, as 0x and eight digits. Data at an edge are made from those of the dense case."""
    name = f"{case.removesuffix(_last(case))}dense" if at_an_edge(case) else case
    return f"0x{philox_key(f'{name} {seed}' if seed else name):08x}"


def _last(case: str) -> str:
    return case.rpartition("/")[2]
