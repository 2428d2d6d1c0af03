"""Functions of the variances of units: the gradient of each unit is a line, a slope times x minus its mean."""

import abc
import dataclasses
from typing import Any, NamedTuple

from .composition import Composite
from .counting import count
from .moments import BatchMoments, units_of
from .penalty import Alone, Array, Gradient, Params, Penalty, Shape, Term
from .pieces import Parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfVariances(BatchMoments):
    """`of_mean(mean over units of of_unit(variance))`, where variances are taken over the batch."""

    @abc.abstractmethod
    def of_unit(self, xp: Any, variance: Array) -> tuple[Array, Array]:
        """What the variance of each unit counts for, and the derivative of that."""

    def of_mean(self, xp: Any, mean: Array, params: Params) -> tuple[Array, Array, dict[str, Array]]:
        """The value, its derivative by the mean over units, and those by learned parameters."""
        return mean, xp.ones_like(mean), {}

    def of_variances(self, xp: Any, variance: Array, params: Params) -> tuple[Array, Array, dict[str, Array]]:
        """The value, its derivative by the variance of each unit, and those by learned parameters."""
        per_unit = 1.0 / count(xp, variance, range(len(variance.shape)))
        each, by_variance = self.of_unit(xp, variance)
        value, by_mean, by_params = self.of_mean(xp, xp.sum(each) * per_unit, params)
        return value, (by_mean * per_unit) * by_variance, by_params

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self.of_variances(xp, self.moments(xp, x, mask, across)[1], params)[0]

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        centred, variance, per_sample = self.moments(xp, x, mask, across)
        _, by_variance, by_params = self.of_variances(xp, variance, params)
        return (by_variance * (2.0 * across.size * per_sample)) * centred, by_params

    def apart(self, shape: Shape, across: Any) -> Parts | None:
        if across is not Alone or not _is_own(type(self)):
            return None
        return Parts(units_of(shape, self.batch(shape)), self._total, self._slopes, self._outer, self._both, False)

    def _total(self, xp: Any, x: Array, mask: Array) -> Array:
        return xp.sum(self.of_unit(xp, self.moments(xp, x, mask, Alone)[1])[0])

    def _slopes(self, xp: Any, x: Array, mask: Array) -> Array:
        return self._both(xp, x, mask)[1]

    def _both(self, xp: Any, x: Array, mask: Array) -> tuple[Array, Array]:
        centred, variance, per_sample = self.moments(xp, x, mask, Alone)
        each, by_variance = self.of_unit(xp, variance)
        return xp.sum(each), (by_variance * (2.0 * per_sample)) * centred

    def _outer(self, xp: Any, total: Array, x: Array, params: Params, mask: Array) -> Any:
        per_unit = 1.0 / count(xp, x, units_of(x.shape, self.batch(x.shape)))
        value, by_mean, by_params = self.of_mean(xp, total * per_unit, params)
        return value, by_mean * per_unit, by_params


class Lines(NamedTuple):
    """The value, and the gradient by x, which is `slope * (x - sample - mean)` of each unit."""

    value: Array
    mean: Array  # less the first sample
    slope: Array
    by_params: dict[str, Array]


def term_of(spec: Penalty, across: Any) -> Term | None:
    """The one term of a spec that is a function of variances over this replica alone; None for all others."""
    if across is not Alone or not isinstance(spec, (OfVariances, Composite)):
        return None
    terms = spec.terms()
    return terms[0] if len(terms) == 1 and not terms[0].plain and _is_own(type(terms[0].penalty)) else None


def _is_own(kind: Any) -> bool:
    """Whether its formulas are those of this module."""
    return (
        issubclass(kind, OfVariances)
        and kind.value is OfVariances.value
        and kind.grad is OfVariances.grad
        and kind.moments is BatchMoments.moments
        and kind.of_variances is OfVariances.of_variances
    )


def lines(xp: Any, term: Term, n: int, mean: Array, squares: Array, params: Params) -> Lines:
    """From the sums over n samples; the weight of the term is in all of it."""
    penalty: Any = term.penalty
    per_sample = 1.0 / (n - penalty.correction)
    value, by_variance, by_params = penalty.of_variances(xp, squares * per_sample, term.select(params))
    slope = by_variance * (2.0 * term.weight * per_sample)
    return Lines(
        term.weight * value, mean, slope, {term.prefix + name: term.weight * d for name, d in by_params.items()}
    )
