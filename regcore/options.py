"""Options of a penalty: how it joins the loss, in which precision and form it is computed, and how often."""

import dataclasses

from .composition import Composite
from .penalty import Penalty, Term


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Composite):
    """`penalty` by its formulas as they are written, without the forms that save time and memory; to compare the two.

    >>> plain(Orthogonality()).one_pass((64, 2), Alone), Orthogonality().one_pass((64, 2), Alone)
    (False, True)
    """

    penalty: Penalty

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(term, plain=True) for term in self.penalty.terms())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Every(Composite):
    """`penalty` on every step-th step of training, `steps` times as much: its gradient on average, at less cost.

    For weights, which change little from step to step: an adapter counts the steps and leaves the penalty out in
    between, so it costs 1/`steps` of its time. Each k-th step is k times as long; with a large weight or many steps
    that is felt. It is for rules that begin with "weight:"; a bare array has no steps, and its penalty is `penalty`.

    Raises ValueError for fewer than one step.

    >>> every(4, L2()).terms()[0].every, float(every(4, L2())(np.asarray([2.0])))
    (4, 4.0)
    """

    steps: int
    penalty: Penalty

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a penalty counts on every {self.steps}th step; expected 1 or more")

    def terms(self) -> tuple[Term, ...]:
        return tuple(dataclasses.replace(term, every=self.steps * term.every) for term in self.penalty.terms())


def coupled(penalty: Penalty) -> Coupled:
    """`penalty` multiplying the task loss; see `Coupled`."""
    return Coupled(penalty=penalty)


def added(penalty: Penalty) -> Added:
    """`penalty` added to the task loss; see `Added`."""
    return Added(penalty=penalty)


def exact(penalty: Penalty) -> Exact:
    """`penalty` in float64 inside, rounded once; see `Exact`."""
    return Exact(penalty=penalty)


def plain(penalty: Penalty) -> Plain:
    """`penalty` by its plain formulas; see `Plain`."""
    return Plain(penalty=penalty)


def every(steps: int, penalty: Penalty) -> Every:
    """`penalty` on every step-th step; see `Every`."""
    return Every(steps=steps, penalty=penalty)
