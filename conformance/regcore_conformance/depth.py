"""How much is run: all of it, what takes minutes, or what takes seconds; and why the rest is not."""

from typing import NamedTuple

from . import edges, long
from .cases import Case
from .runners.blocks import divides, panelled
from .runners.shards import shares

HALVES = ("float16", "bfloat16", "exact float16", "exact bfloat16")
KINKS = ("dense", "relu")
WIDE = ("float64", "float32", "exact")
BROAD = (*WIDE, "bfloat16")
Grades = tuple[str, ...]


class Run(NamedTuple):
    """In which grades a mode is run: on all examples of each penalty, on the first, and at edges and on long data."""

    all: Grades = ()
    first: Grades = ()
    special: Grades = ()
    patterns: tuple[str, ...] = ()  # all, if none are named


APART = ("vmap", "second", "shards", "blocks", "panels")  # modes without edges and long data
EVERY = Run(WIDE, HALVES, WIDE + HALVES)
SHARED = {"shards": Run(first=WIDE)}
PANELS = {"panels": Run(first=("float32",))}
DIVIDED = {"blocks": Run(("float64",), ("float32", "exact"))}
ONCE = {"vmap": Run(first=("float32",)), "second": Run(first=("float64",))}
DEFAULT = {  # by backend, or by library: operations that are compiled one by one, and programs, take long
    "numpy": {"eager": EVERY, **DIVIDED, **SHARED},
    "array-api-strict": {"eager": EVERY, **SHARED},
    "torch": {"eager": EVERY, "compile": Run(first=("float32",)), **ONCE, **DIVIDED, **SHARED},
    "jax": {
        "eager": Run(first=("float32",)),
        "jit": Run(("float32",), ("exact", "float16"), ("float32",)),
        "shards": Run(first=("float32",)),
        **ONCE,
        **PANELS,
    },
    "jax:cpu:x64": {"jit": Run(first=("float64",)), "second": ONCE["second"]},
    "tensorflow": {
        "eager": Run(first=BROAD, special=BROAD),
        "function": Run(("exact",), ("float32",)),
        "xla": Run(first=("exact",)),  # which compiles as jax.jit does
        "second": ONCE["second"],
        **PANELS,
    },
    "keras:jax": {"compiled": Run(first=("float32",), patterns=("dense",))},
    "keras:tensorflow": {"compiled": Run(first=("float32",), patterns=KINKS)},
    "keras": {"eager": Run(first=("float32", "exact"), patterns=KINKS)},
}
QUICK = {
    "numpy": {"eager": Run(WIDE, special=WIDE)},
    "array-api-strict": {"eager": Run(("float64",))},
    "torch": {"eager": Run(("float32", "exact"), special=("float32",))},
    "jax": {"jit": Run(first=("float32", "exact"))},
    "tensorflow": {"function": Run(first=("float32", "exact"))},
    "jax:cpu:x64": {},
    "keras": {},
}
OF_A_PACKAGE = {"eager": EVERY}


def belongs(mode: str, grade: str, case: Case) -> bool:
    """Whether there is such a cell.

    Special data are run case by case, and second derivatives in float64; not every penalty shares statistics, and not
    every one is divided.
    """
    if is_special(case) and (mode in APART or (edges.edge(case) and mode in ("compile", "xla"))):
        return False
    if mode == "blocks":
        return not case.plain and divides(case.spec, case.x.shape)
    if mode == "panels":
        return not case.plain and panelled(case.spec, case.x.shape)
    return not (mode == "second" and grade != "float64") and not (mode == "shards" and not shares(case.spec))


def left_out(depth: str, backend: str, mode: str, grade: str, case: Case) -> str:
    """Why a cell is not run, or "" if it is; `depth` is "default", "full" or "quick".

    >>> case = Case("L2/3/dense", None, None, {}, None)
    >>> left_out("default", "torch:cpu", "eager", "exact", case)
    ''
    >>> left_out("default", "torch:cpu", "compile", "float32", case)
    'takes long, and the first example of each penalty is run: --full'
    """
    if depth == "full":
        return ""
    run = _of(QUICK if depth == "quick" else DEFAULT, backend).get(mode, Run())
    special, pattern = is_special(case), case.id.rpartition("/")[2]
    chosen = run.special if special else run.all + run.first if _is_first(case) else run.all
    if grade in chosen and (special or not run.patterns or pattern in run.patterns):
        return ""
    if depth == "quick":
        return "left out by --quick"
    what = "the first example of each penalty is" if grade in run.first and not special else "other cells are"
    return f"takes long, and {what} run: --full"


def is_special(case: Case) -> bool:
    return bool(edges.edge(case)) or long.is_long(case)


def _is_first(case: Case) -> bool:
    return case.id.split("/")[1] == "0"


def _of(table: dict[str, dict[str, Run]], backend: str) -> dict[str, Run]:
    return table.get(backend, table.get(backend.partition(":")[0], OF_A_PACKAGE))
