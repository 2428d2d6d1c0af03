"""Data at the edges of a penalty's domain, and what may come of it: NaN, overflow, an error, or the true result."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

import regcore

from . import store
from .bound import Judged, Reference, reference
from .cases import UPSTREAM, Case, all_cases

Array = np.ndarray

VALUES: dict[str, Callable[[Array], Array]] = {
    "nan": lambda x: _first(x, np.nan),
    "inf": lambda x: _first(x, np.inf),
    "huge": lambda x: x * 2.0**66,  # whose square overflows in float32
    "subnormal": lambda x: x * 2.0**-134,  # of float32, which some libraries flush to zero
}
SHAPES: dict[str, tuple[int, int]] = {"empty": (0, 0), "batch of 1": (0, 1), "time of 1": (1, 1)}  # axis, size
INSTEAD: dict[str, tuple[str, Callable[[Array], Array]]] = {  # what may stand for an edge: a name, and its data
    "inf": ("limit", lambda x: np.where(np.isinf(x), 2.0**66, x)),
    "subnormal": ("zeros", lambda x: 0.0 * x),
}
REFUSED: Mapping[str, Array] = {"refused": np.asarray(True)}  # the results of a case that raised ValueError


def edge_cases(kinds: Iterable[type[regcore.Penalty]] = (), seed: int = 0) -> Iterator[Case]:
    """The first example of each penalty at every edge."""
    for case in all_cases(kinds, ["dense"], seed):
        name, number, _ = case.id.split("/")
        if number == "0":
            for edge, change in VALUES.items():
                yield case._replace(id=f"{name}/0/{edge}", x=change(case.x))
            for edge, (axis, size) in SHAPES.items():
                if axis < case.x.ndim - 1:
                    yield _cut(case, f"{name}/0/{edge}", axis, size)


def edge(case: Case) -> str:
    """The edge that a case is at, or ""."""
    pattern = case.id.rpartition("/")[2]
    return pattern if pattern in (*VALUES, *SHAPES, *(name for name, _ in INSTEAD.values())) else ""


def is_refusal(case: Case, error: Exception) -> bool:
    return edge(case) in SHAPES and isinstance(error, ValueError)


class Edge(NamedTuple):
    """What may come of a case at an edge; `instead` is what comes of other data, and may stand for it.

    Numbers that are too small may count as zeros. A value at an infinite entry is its limit, if that is finite.
    """

    name: str
    refused: bool
    reference: Reference | None = None
    instead: Reference | None = None

    def judge(self, results: Mapping[str, Array], *, exact: bool) -> dict[str, Judged]:
        """For each result its error in units of the bound, and what is wrong with it."""
        came_refused = "refused" in results
        if self.refused or came_refused:
            expected, right = "ValueError" if self.refused else "a value", self.refused == came_refused
            return {"value": Judged(0.0 if right else np.inf, "" if right else f"expected {expected}; got {results}")}
        if self.name == "nan":
            return {name: _nan(results[name]) for name in ("value", "x")}
        if self.name == "inf":
            return {"value": self.instead.judge(results, exact=exact, may_overflow=True)["value"]}
        judged = self.reference.judge(results, exact=exact, may_overflow=self.name == "huge")
        if self.instead is not None:
            flushed = self.instead.judge(results, exact=exact)
            judged = {name: min(judged[name], flushed[name]) for name in judged}
        return judged


def truth(case: Case) -> Edge:
    """What may come of it. A reference is that of the closed form, which is verified where rounding is no matter."""
    name = edge(case)
    if name == "nan" or is_refused(case):
        return Edge(name, refused=name in SHAPES)
    instead = _reference(_instead(case)) if name in INSTEAD else None
    return Edge(name, False, _reference(case) if name != "inf" else None, instead)


def referenced(kinds: Iterable[type[regcore.Penalty]] = ()) -> Iterator[Case]:
    """The cases at edges for which a reference is stored."""
    for case in edge_cases(kinds):
        if edge(case) in ("huge", "subnormal") or (edge(case) in SHAPES and not is_refused(case)):
            yield case
        if edge(case) in INSTEAD:
            yield _instead(case)


def closed_form(case: Case) -> Reference:
    """Differences see nothing where numbers are this large or small."""
    return reference(case.spec, case.x, case.params, mask=case.mask, upstream=UPSTREAM)


def _reference(case: Case) -> Reference:
    return store.find(case) or closed_form(case)


def _instead(case: Case) -> Case:
    name, change = INSTEAD[edge(case)]
    return case._replace(id=case.id.replace(edge(case), name), x=change(case.x))


def is_refused(case: Case) -> bool:
    """Whether an edge is one of shapes that are refused: what is empty is, always."""
    if edge(case) not in SHAPES:
        return False
    try:
        case.spec.check(case.x.shape, **{name: case.params[name].shape for name in case.spec.inputs()})
    except ValueError:
        return True
    return case.x.size == 0


def _first(x: Array, number: float) -> Array:
    x = x.copy()
    x.flat[0] = number
    return x


def _cut(case: Case, name: str, axis: int, size: int) -> Case:
    """The case with an axis of this size, and with it of the inputs that have one entry for each sample."""
    part = (*(slice(None),) * axis, slice(size))
    rows = [key for key in case.spec.inputs() if case.params[key].shape[:1] == case.x.shape[:1] and axis == 0]
    params: dict[str, Any] = {**case.params, **{key: case.params[key][part] for key in rows}}
    mask = None if case.mask is None or case.mask.ndim <= axis else case.mask[part]
    return case._replace(id=name, x=case.x[part], params=params, mask=mask)


def _nan(result: Array) -> Judged:
    return Judged(0.0) if np.isnan(result).any() else Judged(np.inf, f"hides NaN: got {result.tolist()}")
