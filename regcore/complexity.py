"""What a network has learned, in numbers: the size of weights and activations, and the local learning coefficient."""

import dataclasses
import math
import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import functional
from .langevin import Array, Tree, ValueAndGrad, Walk, enter, wide_dtype
from .penalties.magnitude import L2

BATCHES = 8  # per chain, for the standard error: long beside the correlation of draws, and enough to have a spread


def weight_sd(weights: Array, *, correction: int = 0) -> Array:
    """`sqrt(sum((w - mean(w))**2) / (n - correction))` over all entries: the spread of a weight array.

    A 0-d array of the library, any shape in. It is in the unit of the weights and is no function of the network alone:
    with ReLU, half the last layer and twice the one before compute the same. Report `mean_square` of the activations
    that enter the layer beside it. ValueError for n - correction < 1, TypeError for what is not real floating.

    >>> float(weight_sd(np.asarray([[1.0, 3.0], [1.0, 3.0]])))
    1.0

    Source: V. N. Premakumar et al., "Unexpected benefits of self-modeling in neural systems" (2024),
    arXiv:2407.10188, whose numbers fit the rows of the last layer that classify.
    """
    backend, xp = enter("weights", weights)
    n = math.prod(backend.shape(weights))
    if n - correction < 1:
        raise ValueError(f"weight_sd got {n} entries and correction={correction}; expected more entries than that")
    w = xp.astype(weights, wide_dtype(xp, weights))
    centred = w - xp.sum(w) * (1.0 / n)
    centred = centred - xp.sum(centred) * (1.0 / n)
    return xp.sqrt(xp.sum(centred * centred) * (1.0 / (n - correction)))


def mean_square(activations: Array, *, mask: Array = None) -> Array:
    """`mean(a**2)`, the value of `L2`: what moves the opposite way when a network rescales a layer, see `weight_sd`.

    >>> float(mean_square(np.asarray([1.0, 3.0])))
    5.0
    """
    return functional.value(L2(), activations, mask=mask)


def default_nbeta(n: int) -> float:
    """`n / ln(n)`: Watanabe's inverse temperature times the number n >= 2 of training samples, not of a batch.

    >>> round(default_nbeta(60000))
    5454

    Source: S. Watanabe, "A widely applicable Bayesian information criterion", JMLR 14 (2013).
    """
    if n < 2:
        raise ValueError(f"default_nbeta got n={n}; expected the number of training samples, at least 2")
    return n / math.log(n)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LearningCoefficient:
    """An estimate and its error, see `local_learning_coefficient`; `print` shows them in words."""

    value: float
    standard_error: float  # Monte Carlo, and that of a random loss at the start
    discretization: float  # a step of finite length
    localization: float  # the pull towards the start
    temperature: float  # a finite nbeta
    slope: float  # d value / d ln(nbeta), observed
    slope_error: float  # its standard error
    rhat: float  # of the losses, split chains; 1 where all chains agree
    loss_at_start: float
    chains: tuple[float, ...]  # the value of each chain
    trace: np.ndarray = dataclasses.field(repr=False)  # the loss at each draw, (chains, draws)
    warnings: tuple[str, ...]

    @property
    def systematic(self) -> float:
        return self.discretization + self.localization + self.temperature

    @property
    def error(self) -> float:
        """Half width: two standard errors and every systematic part, as if all went the same way."""
        return 2.0 * self.standard_error + self.systematic

    def __str__(self) -> str:
        parts = ["standard_error", "discretization", "localization", "temperature", "rhat"]
        text = f"{self.value:.4g} +- {self.error:.2g} ({', '.join(f'{p} {getattr(self, p):.2g}' for p in parts)})"
        return "\n".join([text, *(f"warning: {warning}" for warning in self.warnings)])


def local_learning_coefficient(
    value_and_grad: ValueAndGrad,
    start: Tree,
    *,
    nbeta: float,
    step_size: float,
    localization: float,
    chains: int = 4,
    draws: int = 1000,
    burn_in: int = 500,
    seed: int = 0,
    preconditioner: Tree = None,
    loss_at_start: float | None = None,
    multiplicity: int = 2,
) -> LearningCoefficient:
    """`nbeta * (mean(L(w)) - L(start))` over draws near `start`: half the effective number of parameters (RLCT).

    Each of `chains` starts at `start` and repeats, with m the `preconditioner` (1 without one) and e the `step_size`,
    `w <- w - e/2 m (nbeta grad L(w) + localization (w - start)) + sqrt(e m) N(0, 1)`, whose density for a small e is
    `exp(-nbeta L(w) - localization/2 |w - start|**2)`. There is no acceptance step, so the loss may be random.

    `value_and_grad(w)` gives the mean loss per sample, in nats, and its gradient. `start` is any nested dict, list or
    tuple of floating arrays, from any optimizer at any step; w and the gradient have its form, library and dtype.
    `preconditioner` has its form too, all positive, such as 1 / (sqrt(second moment of Adam) + eps). Noise depends on
    `seed` and chain alone: the same in every library. `loss_at_start` is found by two calls, or by the mean of 100
    where these differ; the standard error then has its part.

    Error, of the limit nbeta -> inf: `standard_error` is the larger of that of 8 batch means per chain and that of the
    chain means, which sees what mixes slower than a batch. `discretization` is e/8 mean(g m nbeta grad L), with g the
    whole drift: exact where L is quadratic, noise of mini-batches included, and too large where L is of higher degree.
    `localization` is the lesser of what the pull holds, localization/2 mean(|w - start|**2), and, to first order, what
    removing it changes, (mean(y) - cov(x, y))/2 with x the excess and y = (w - start) nbeta grad L, and two of its
    standard errors. `temperature` is (multiplicity - 1)/ln(nbeta): the multiplicity is 1 at a regular point, one more
    for each logarithm, as at a*b = 0, and unknown for a network; a warning says when the slope asks for more.

    Raises ValueError and TypeError for bad arguments, and FloatingPointError where a loss is not finite.

    >>> quadratic = lambda w: (0.5 * np.sum(w * w), w)  # in 4 dimensions: 4/2
    >>> llc = local_learning_coefficient(quadratic, np.zeros(4), nbeta=100.0, step_size=2e-3, localization=1.0)
    >>> abs(llc.value - 2) < llc.error < 0.6
    True

    Sources: E. Lau et al., "Quantifying degeneracy in singular models via the learning coefficient" (2023),
    arXiv:2308.12108; S. Watanabe, JMLR 14 (2013); M. Welling, Y. W. Teh, "Bayesian learning via stochastic gradient
    Langevin dynamics", ICML (2011); A. Gelman, D. Rubin, Statistical Science 7 (1992) for R-hat.
    """
    _check(nbeta=(nbeta, 1, True), step_size=(step_size, 0, True), localization=(localization, 0, False))
    _check(chains=(chains, 1, False), draws=(draws, 2 * BATCHES, False), burn_in=(burn_in, 0, False), whole=True)
    _check(seed=(seed, 0, False), multiplicity=(multiplicity, 1, False), whole=True)
    walk = Walk(value_and_grad, start, preconditioner, nbeta, step_size, localization)
    initial, initial_error = (float(loss_at_start), 0.0) if loss_at_start is not None else walk.loss_at_start()
    if not math.isfinite(initial):
        raise FloatingPointError(f"the loss at start is {initial}; expected a finite one: start at trained parameters")
    rows = np.stack([walk.chain(seed, index, burn_in, draws) for index in range(chains)])
    result = _estimate(rows, walk, initial, initial_error, multiplicity)
    expected_slope = (multiplicity - 1) / math.log(nbeta) ** 2
    return dataclasses.replace(result, warnings=tuple(_warnings(result, nbeta * initial_error, expected_slope)))


def _estimate(
    rows: np.ndarray, walk: Walk, initial: float, initial_error: float, multiplicity: int
) -> LearningCoefficient:
    loss, along, heat, distance = np.moveaxis(rows, 2, 0)
    excess = walk.nbeta * (loss - initial)
    spread = excess - excess.mean()
    slope = excess - spread * spread  # its mean is that of the excess minus its variance
    response = 0.5 * (along - spread * (along - along.mean()))
    held, removed = walk.localization / 2 * distance.mean(), abs(response.mean()) + 2 * _standard_error(response)
    return LearningCoefficient(
        value=float(excess.mean()),
        standard_error=math.hypot(_standard_error(excess), walk.nbeta * initial_error),
        discretization=walk.step_size / 8 * abs(float(heat.mean())),
        localization=float(min(held, removed)),
        temperature=(multiplicity - 1) / math.log(walk.nbeta),
        slope=float(slope.mean()),
        slope_error=_standard_error(slope),
        rhat=_rhat(loss),
        loss_at_start=initial,
        chains=tuple(float(mean) for mean in excess.mean(axis=1)),
        trace=loss,
        warnings=(),
    )


def _check(whole: bool = False, **arguments: tuple[Any, float, bool]) -> None:
    """Each argument is (what came, its least value, whether that value itself is too small)."""
    for name, (given, least, above) in arguments.items():
        if not isinstance(given, numbers.Integral if whole else numbers.Real) or isinstance(given, bool):
            raise TypeError(f"{name} is {given!r}; expected {'a whole' if whole else 'a real'} number")
        if not math.isfinite(given) or given < least or (above and given == least):
            raise ValueError(f"{name} is {given}; expected a finite number {'above' if above else 'from'} {least}")


def _standard_error(draws: np.ndarray) -> float:
    chains, n = draws.shape
    batches = draws[:, n % BATCHES :].reshape(chains * BATCHES, -1).mean(axis=1)
    within = batches.std(ddof=1) / math.sqrt(batches.size)
    between = draws.mean(axis=1).std(ddof=1) / math.sqrt(chains) if chains > 1 else 0.0
    return max(float(within), float(between))


def _rhat(draws: np.ndarray) -> float:
    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    within, between = halves.var(axis=1, ddof=1).mean(), halves.mean(axis=1).var(ddof=1)
    if within == 0.0:
        return 1.0 if between == 0.0 else math.inf
    return math.sqrt((half - 1) / half + between / within)


def _warnings(result: LearningCoefficient, start_error: float, expected_slope: float) -> Iterator[str]:
    if result.value < 0.0:
        yield "negative: the start is no local minimum, so this is no learning coefficient; train on or lower step_size"
    if result.rhat > 1.1:
        yield f"the chains disagree (R-hat {result.rhat:.2f}): raise burn_in and draws, and look at trace"
    if result.discretization > 0.2 * abs(result.value):
        yield "the steps are long or the gradient noisy: lower step_size, with more draws, or take larger batches"
    if start_error > 0.1 * result.standard_error:
        yield (
            "the loss is random, which blurs slope and localization: prefer the loss of all data, or return the loss "
            "minus that of the start on the same batch, with loss_at_start=0.0"
        )
    if result.slope > expected_slope + 3 * result.slope_error:
        yield "the value still rises with nbeta: raise nbeta or multiplicity, or lower localization"
