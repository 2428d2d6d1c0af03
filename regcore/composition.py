"""Penalties made of penalties: weights, sums and names."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape, Term


class Composite(Penalty):
    """A spec made of other specs: it says what its terms are, and the rest follows."""

    def __post_init__(self) -> None:
        """Nothing here: composites are built in traced code too, and `from_config` checks their fields."""

    @classmethod
    def examples(cls) -> Iterator[Example]:
        return iter(())  # the suite composes examples of the penalties themselves

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Whether all terms are."""
        return all(term.penalty.additive for term in self.terms())

    def init(self) -> dict[str, np.ndarray]:
        return {name: array for term in self.terms() for name, array in term.init().items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {term.prefix + name: shape for term in self.terms() for name, shape in term.penalty.shapes().items()}

    def inputs(self) -> dict[str, str]:
        return {name: kind for term in self.terms() for name, kind in term.penalty.inputs().items()}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        for term in self.terms():
            term.penalty.check(shape, **{name: inputs[name] for name in term.penalty.inputs()})

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        values = [
            term.weight * term.penalty.value(xp, x, term.select(params), mask=mask, across=across)
            for term in self._of_one_kind()
        ]
        return _total(values)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        each = [term.penalty.grad(xp, x, term.select(params), mask=mask, across=across) for term in self._of_one_kind()]
        return self._gradient(each)

    def one_pass(self, shape: Shape, across: Any) -> bool:
        return any(_in_one_pass(term, shape, across) for term in self.terms())

    def value_and_grad(
        self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone
    ) -> tuple[Array, Gradient]:
        each = []
        for term in self._of_one_kind():
            own = term.select(params)
            if _in_one_pass(term, tuple(x.shape), across):
                each.append(term.penalty.value_and_grad(xp, x, own, mask=mask, across=across))
            else:
                value = term.penalty.value(xp, x, own, mask=mask, across=across)
                each.append((value, term.penalty.grad(xp, x, own, mask=mask, across=across)))
        values = [term.weight * value for term, (value, _) in zip(self.terms(), each, strict=True)]
        return _total(values), self._gradient([gradient for _, gradient in each])

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        values = []
        for term in self._of_one_kind():
            formula = term.penalty.value_alone if _in_one_pass(term, tuple(x.shape), across) else term.penalty.value
            values.append(term.weight * formula(xp, x, term.select(params), mask=mask, across=across))
        return _total(values)

    def _gradient(self, each: Iterable[Gradient]) -> Gradient:
        """The gradient of the whole from that of each term."""
        dxs: list[Array] = []
        dparams: dict[str, Array] = {}
        for term, (dx, own) in zip(self.terms(), each, strict=True):
            dxs.append(term.weight * dx)
            for name, d in own.items():
                shared = name in term.penalty.inputs()  # by an input that several terms may have
                name = name if shared else term.prefix + name
                dparams[name] = dparams[name] + term.weight * d if name in dparams else term.weight * d
        return _total(dxs), dparams

    def _of_one_kind(self) -> tuple[Term, ...]:
        terms = self.terms()
        if len({term.coupled for term in terms}) > 1:
            kinds = {term.name: "coupled" if term.coupled else "added" for term in terms}
            raise ValueError(
                f"{self} mixes penalties that multiply the task loss with penalties that are added to it ({kinds}), "
                "so it has no single value: use an adapter's combine, regcore.combine, or evaluate its terms() apart"
            )
        return terms


def _in_one_pass(term: Term, shape: Shape, across: Any) -> bool:
    return not term.plain and term.penalty.one_pass(shape, across)


def _total(arrays: Iterable[Array]) -> Array:
    first, *rest = arrays
    return sum(rest, start=first)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled(Composite):
    """`weight * penalty`.

    >>> float((0.5 * L2())(np.asarray([2.0])))
    2.0
    """

    weight: float
    penalty: Penalty

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"a penalty's weight is {self.weight}; it must be a finite number")

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(t, weight=self.weight * t.weight) for t in self.penalty.terms())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sum(Composite):
    """`parts[0] + parts[1] + ...`, where a name that occurs twice gets a number.

    >>> [term.name for term in (L2() + TAR() + L2()).terms()]
    ['L2', 'TAR', 'L2_2']
    """

    parts: tuple[Penalty, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("Sum got no penalties; it needs at least one part")
        flat = (inner for part in self.parts for inner in (part.parts if isinstance(part, Sum) else (part,)))
        object.__setattr__(self, "parts", tuple(flat))
        if len(self.shapes()) < sum(len(term.penalty.shapes()) for term in self.terms()):
            raise ValueError(f"two parameters of {self} would share a name: rename a part with .named(...)")

    def terms(self) -> tuple[Term, ...]:
        terms: dict[str, Term] = {}
        for term in (term for part in self.parts for term in part.terms()):
            name, number = term.name, 2
            while name in terms:
                name, number = f"{term.name}_{number}", number + 1
            terms[name] = dataclasses.replace(term, name=name, prefix=f"{name}_")
        if len(terms) == 1:
            return tuple(dataclasses.replace(term, prefix="") for term in terms.values())
        return tuple(terms.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named(Composite):
    """`penalty` under another name in reports and among parameters.

    >>> (L2().named("ar") + TAR()).terms()[0].name
    'ar'
    """

    name: str
    penalty: Penalty

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a penalty was named {self.name!r}; a name must be a Python identifier")
        if len(self.penalty.terms()) > 1:
            raise ValueError(f"{self.name!r} would name several penalties at once; name the parts of the sum instead")

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(term, name=self.name) for term in self.penalty.terms())
