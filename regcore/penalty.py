"""The one abstraction, a penalty with its closed-form gradient, and the ways to compose it."""

import abc
import dataclasses
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import functional

Array = Any  # an array of the library behind `xp`
Gradient = tuple[Array, dict[str, Array]]  # (d value / d x, {name: d value / d parameter})


class Alone:
    """Statistics of a single replica: the sum over replicas is its own.

    A data-parallel trainer passes its own object with the same two members. The value is then that of the whole batch
    on every replica, and gradients are scaled by `size`, so that averaging them over replicas gives the exact one.
    """

    size = 1

    def sum(self, array: Array) -> Array:
        return array


ALONE = Alone()


class Example(NamedTuple):
    """A spec and a shape on which the conformance suite exercises it, with a mask over the leading `mask_ndim` axes."""

    spec: "Penalty"
    shape: tuple[int, ...]
    mask_ndim: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalty(abc.ABC):
    """A scalar function of an array and, for some penalties, of learned parameters. Equal specs are the same function.

    Calling a spec on an array is the front door: it checks the input, decides the precision, and gives a 0-d array whose
    derivative is `grad`. `value` and `grad` are the maths alone: `x` and `params` arrive in the dtype to compute in.

    >>> penalty = L2()
    >>> penalty == L2(), 2.0 * penalty
    (True, Scaled(weight=2.0, penalty=L2()))
    >>> float(penalty(np.asarray([1.0, 3.0])))
    5.0
    """

    additive: ClassVar[bool] = True  # a mean over equal shards or micro-batches equals the whole
    coupled: ClassVar[bool] = False  # multiplies the task loss instead of being added to it
    maskable: ClassVar[bool] = False  # takes a mask over the leading axes of `x`
    autograph_info__: ClassVar[dict[str, Any]] = {}  # for TensorFlow's AutoGraph: nothing in a spec wants rewriting

    def init(self) -> dict[str, np.ndarray]:
        """Initial learned parameters, in float32: the same numbers in every framework."""
        return {}

    def check(self, shape: tuple[int | None, ...]) -> None:
        """Raise ValueError for a shape on which the penalty is not defined; None is a size not known yet."""

    @abc.abstractmethod
    def value(self, xp: Any, x: Array, params: Mapping[str, Array], *, mask: Array = None, across: Any = ALONE) -> Array:
        """The penalty, a 0-d array of the dtype of `x`."""

    @abc.abstractmethod
    def grad(
        self, xp: Any, x: Array, params: Mapping[str, Array], *, mask: Array = None, across: Any = ALONE
    ) -> Gradient:
        """The derivative of `value`, in closed form: (d value / d x, {name: d value / d parameter})."""

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> Iterator[Example]:
        """Specs and shapes that the conformance suite exercises."""

    def terms(self) -> tuple["Term", ...]:
        """The weighted penalties that this spec adds up."""
        return (Term(type(self).__name__, self, coupled=self.coupled),)

    @property
    def exact(self) -> bool:
        """Whether the whole spec is computed in float64, whatever the dtype of `x`."""
        return any(term.exact for term in self.terms())

    def named(self, name: str) -> "Named":
        """This penalty under another name in reports and among parameters."""
        return Named(name=name, penalty=self)

    def __call__(self, x: Array, params: Mapping[str, Array] | None = None, *, mask: Array = None) -> Array:
        return functional.value(self, x, params, mask=mask)

    def __mul__(self, weight: float) -> "Scaled":
        if not isinstance(weight, numbers.Real):
            return NotImplemented
        return Scaled(weight=float(weight), penalty=self)

    __rmul__ = __mul__

    def __add__(self, other: "Penalty") -> "Sum":
        if not isinstance(other, Penalty):
            return NotImplemented
        return Sum(parts=(*_parts(self), *_parts(other)))


def _parts(spec: Penalty) -> tuple[Penalty, ...]:
    return spec.parts if isinstance(spec, Sum) else (spec,)


@dataclasses.dataclass(frozen=True)
class Term:
    """One penalty of a spec, with how it enters the loss: `weight * penalty`, added, or multiplying if `coupled`."""

    name: str
    penalty: Penalty
    weight: float = 1.0
    coupled: bool = False
    exact: bool = False
    prefix: str = ""  # before the names of its learned parameters, where a spec has several terms

    @property
    def spec(self) -> Penalty:
        """The unweighted penalty in the precision asked for."""
        return Exact(penalty=self.penalty) if self.exact else self.penalty

    def init(self) -> dict[str, np.ndarray]:
        """Initial learned parameters under their names in the whole spec."""
        return {self.prefix + name: array for name, array in self.penalty.init().items()}

    def select(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """This term's own among the parameters of the whole spec."""
        return {name: params[self.prefix + name] for name in self.penalty.init()}


class Composite(Penalty):
    """A spec made of other specs: it says what its terms are, and the rest follows."""

    @classmethod
    def examples(cls) -> Iterator[Example]:
        return iter(())  # the suite composes examples of the penalties themselves

    def init(self) -> dict[str, np.ndarray]:
        return {name: array for term in self.terms() for name, array in term.init().items()}

    def check(self, shape: tuple[int | None, ...]) -> None:
        for term in self.terms():
            term.penalty.check(shape)

    def value(self, xp: Any, x: Array, params: Mapping[str, Array], *, mask: Array = None, across: Any = ALONE) -> Array:
        values = [
            term.weight * term.penalty.value(xp, x, term.select(params), mask=mask, across=across)
            for term in self._of_one_kind()
        ]
        return _total(values)

    def grad(
        self, xp: Any, x: Array, params: Mapping[str, Array], *, mask: Array = None, across: Any = ALONE
    ) -> Gradient:
        dxs, dparams = [], {}
        for term in self._of_one_kind():
            dx, own = term.penalty.grad(xp, x, term.select(params), mask=mask, across=across)
            dxs.append(term.weight * dx)
            dparams.update({term.prefix + name: term.weight * d for name, d in own.items()})
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
        if len(self.init()) < sum(len(term.init()) for term in self.terms()):
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coupled(Composite):
    """`penalty`, which multiplies the task loss: `total = task * (1 + sum(coupled)) + sum(added)`.

    >>> float(combine(10.0, [(1.0, 0.5, True), (2.0, 3.0, False)]))
    21.0
    """

    penalty: Penalty

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(term, coupled=True) for term in self.penalty.terms())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Added(Composite):
    """`penalty`, added to the task loss even if it was published multiplying it.

    >>> added(BatchEntropy()).terms()[0].coupled
    False
    """

    penalty: Penalty

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(term, coupled=False) for term in self.penalty.terms())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact(Composite):
    """`penalty` with value and gradient computed in float64 and rounded once, to the same bits on every backend.

    >>> exact(L2())(np.asarray([1.0, 3.0], dtype=np.float32))
    np.float32(5.0)
    """

    penalty: Penalty

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(term, exact=True) for term in self.penalty.terms())


def coupled(penalty: Penalty) -> Coupled:
    """`penalty` multiplying the task loss; see `Coupled`."""
    return Coupled(penalty=penalty)


def added(penalty: Penalty) -> Added:
    """`penalty` added to the task loss; see `Added`."""
    return Added(penalty=penalty)


def exact(penalty: Penalty) -> Exact:
    """`penalty` in float64 inside, rounded once; see `Exact`."""
    return Exact(penalty=penalty)
