"""Edits that change nothing, each with the reason why; `shown` checks at 60 digits that they do not."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import digits
from .trial import NUMPY, Case, Mutant, cases_of, is_finite

SAME = 2.0**-64  # a relative difference at 60 digits: far below a rounding of float64, far above one of these numbers


class Claim(NamedTuple):
    """Mutants of one kind whose text has these parts change nothing, because of this."""

    kind: str
    parts: tuple[str, ...]
    because: str


NO_SUM = "a sum of deviations from a mean is 0, so of two factors one may be off by a constant"
BORDER = "at the border itself both sides are the same"
SQUARE = "the matrix is square, or the lists have the same length"
REPLICA = "there is one replica, so across.size is 1"
FINITE = "it adds 0 to what is finite, and NumPy's functions keep NaN by themselves, as not every library's do"
HIDDEN = "what the mask hides is 0 there already, or becomes it later"
ONE = "it is the same number, in an array or not"
WAYS = "it chooses between two ways to the same result"
TIED = "it is how near two numbers count as tied; no case has any between rounding and that"
CLAIMS = (
    Claim("formula", ("covariance:", "mean_a, mean_b"), NO_SUM),
    Claim("formula", ("covariance:", "(p - mean_a) * (q - mean_b)"), NO_SUM),
    Claim("formula", ("relu:", "number <= 0 -> number < 0"), BORDER),
    Claim("formula", ("containment:", "- relu(low - rho)"), "one of the two is 0, and the sum is squared"),
    Claim("formula", ("coding_rate:", "0 -> 1", "n, d"), SQUARE),
    Claim("formula", ("least:", "0 -> 1", "m, d, c"), SQUARE),
    Claim("formula", ("max_cosine:", "2 -> 3", "least(given, 2)"), "the product has one factor for powers 2 and 3"),
    Claim("formula", ("least:", "2 -> 3", "odd in range"), "MaxCosine has power 2, so there is one factor, odd = 1"),
    Claim("formula", ("least:", "c * odd ->"), "MaxCosine has power 2, so c and odd are 1"),
    Claim("formula", ("orthogonality:", "sum(weights) -> max(weights)"), "both are 0 for the same weights"),
    Claim("formula", ("orthogonality:", "1 -> 2", "f.coactive else 1"), "weights are divided by their sum"),
    Claim("formula", ("_tokens:", "0 -> 1"), "a mask does not reach the axis of the features"),
    Claim("formula", ("_choices:", "top_k - 1 -> top_k"), "the next one ties with the last, or gets the share 0"),
    Claim("formula", ("spectral_isometry: abs(error) >= worst - slack -> abs(error) > ",), BORDER),
    Claim("formula", ("spectral_isometry: held[i] > slack -> held[i] >= slack",), BORDER),
    Claim("formula", ("spectral_isometry: held[i] < -slack -> held[i] <= -slack",), BORDER),
    Claim("formula", ("nuclear_norm:", "-> max(rows, columns"), "the longer side has zeros more"),
    Claim("formula", ("confidence_penalty:", "0 -> 1", "p != 0"), "1 log 1 is 0, and at 120 digits no p is"),
    Claim("code", ("across.size",), REPLICA),
    Claim("code", ("(value - value)",), FINITE),
    Claim("code", ("m >= 2 * d",), WAYS),
    Claim("code", ("2 * n <= d",), WAYS),
    Claim("code", ("Orthogonality._is_even: 2 -> 3",), WAYS),
    Claim("code", ("Orthogonality._of_block:", "if self.power == 2 else"), WAYS),
    Claim("code", ("Orthogonality._of_block: size > self.threshold ->",), BORDER),
    Claim("code", ("MaxCosine._cosines: cosine <= 0 ->",), BORDER),
    Claim("code", ("MaxCosine.both_of_units: 0 -> 1", "len(found[0])"), SQUARE),
    Claim("code", ("MaxCosine.both_of_units: 64 -> 65",), WAYS),
    Claim("code", ("MaxCosine.both_of_units: 1 -> 2", "blocks.joined(xp, slopes, 1)"), "there is one panel"),
    Claim("code", ("_panels:", "None in (x.shape[0]"), "NumPy knows all sizes"),
    Claim("code", ("_panels:", "most = "), WAYS),
    Claim("code", ("_panels: 0 -> 1", "len(parts[0])"), SQUARE),
    Claim("code", ("SelfModel._residual:", "addmm("), "NumPy has no such function; it is run in PyTorch"),
    Claim("code", ("_centred_panels:", "parts[0]"), "all panels have the same samples"),
    Claim("code", ("OffDiagonal._both: 0 -> 1", "units[0].shape[1]"), "all panels have the same samples"),
    Claim("code", ("OffDiagonal.value_and_grad:", "size is None"), "NumPy knows all sizes"),
    Claim("code", ("_of_each_sample: 0 -> 1",), "it is asked for its shape only"),
    Claim("code", ("kept(",), HIDDEN),
    Claim("code", ("MaxCosine.by_units: cosine <= 0 ->",), BORDER),
    Claim("code", (">= self.low ->",), BORDER),
    Claim("code", ("<= self.high ->",), BORDER),
    Claim("code", (">= self.threshold ->",), BORDER),
    Claim("code", ("<= self.threshold ->",), BORDER),
    Claim("code", ("Containment.error:", "="), BORDER),
    Claim("code", ("0 -> 1", "pairs.shape[0]"), SQUARE),
    Claim("code", ("_weights: 0 -> 1",), SQUARE),
    Claim("code", ("CodingRate.grad: 0 -> 1",), "it chooses between two ways to the same product"),
    Claim("code", ("_spectrum: xp.matrix_transpose(matrix) -> matrix",), "this branch is for several replicas"),
    Claim("code", ("fault",), FINITE),
    Claim("code", ("error - error",), FINITE),
    Claim("code", ("(worst - worst)",), FINITE),
    Claim("code", ("_share: ", "reciprocal(xp, n)"), "reciprocal is 1/n, but for n = 0"),
    Claim("code", ("OfLogits.grad: xp.max(x",), "it is asked for its shape only"),
    Claim("code", ("ConfidencePenalty.", "xp.zeros_like(p) -> p"), "p is 0 there"),
    Claim("code", ("BatchEntropy.of_mean: 0.0 * one",), ONE),
    Claim("code", ("BatchEntropy.of_mean: alpha < 0 -> alpha <= 0",), "at 0 it is not above the floor"),
    Claim("code", ("BatchEntropy.of_mean: size <= self._floor ->",), BORDER),
    Claim("code", ("BatchEntropy.of_mean: self._floor * one",), ONE),
    Claim("code", ("slope if self.signed else", "-> slope * sign(xp, cosine)"), "an excess has a cosine above 0"),
    Claim("code", ("MaxCosine._squares:",), "the diagonal is 0 then, and is never above another square"),
    Claim("code", ("SoftOrthogonality.",), "(V V.T - I) V is V (V.T V - I)"),
    Claim("code", ("MutualCoherence.by_matrix: xp.ones_like(size) -> size",), "those that tie have one size"),
    Claim("code", ("FiringRateBand.by_entries:", "/ xp.ones_like"), ONE),
    Claim("code", ("_log_sigmoid:",), "both branches are the same function, and differ in overflow only"),
    Claim("code", ("_chosen: z > last -> z >= last",), "what is too much is taken back by those that tie"),
    Claim("code", ("GroupLasso._parts:",), "the size is known but for TensorFlow"),
    Claim("code", ("_scaled:",), "the scale is divided out again; it is there because of overflow"),
    Claim("code", ("NuclearNorm.ratio:", "xp.where(zero"), "where s is 0, so is what it is multiplied by"),
    Claim("code", ("SpectralIsometry._shares: size < worst - slack ->",), BORDER),
    Claim("code", ("SpectralIsometry._shares: size <= slack ->",), BORDER),
    Claim("code", ("SpectralIsometry._shares: error < 0 -> error <= 0",), BORDER),
    Claim("code", ("SpectralIsometry._shares: worst - slack > 1 ->",), BORDER),
    Claim("code", ("SpectralIsometry._shares: xp.zeros_like(worst) + lacking",), ONE),
    Claim("code", ("SpectralIsometry._worst: worst <= 1 ->",), BORDER),
    Claim("code", ("TanhL0.slope:", "decay = "), "1 / cosh**2 is even"),
    Claim("code", ("_normalised: xp.ones_like(root) -> root",), "NaN times anything, in an array or not"),
    Claim("code", ("Orthogonality.both_of_units: None if self.products",), "references are of products in float32"),
    Claim("code", ("OfSingularValues.by_matrix:", "largest"), "the scale is divided out again; 1/s could overflow"),
    Claim("code", ("NuclearNorm.ratio:", "* self.tolerance -> self.tolerance"), TIED),
    Claim("code", ("_away:", "xp.ones_like(x)"), "NaN times anything, in an array or not"),
)

WIDE = (  # where rounding decides which entries tie, or which side of a corner it is, the bound of this grade is wide
    ("float32", ("MutualCoherence.by_matrix:", "sum(largest)")),
    ("float32", ("MaxCosine.both_of_units: self.search ==",)),
    ("float32", ("Variance.of_unit:", "lack <= 0 ->")),
)


def is_wide(mutant: Mutant, grade: str) -> bool:
    """Whether the bound of one grade cannot see this mutant."""
    return any(grade == wide and all(part in mutant.text for part in parts) for wide, parts in WIDE)


def claimed(mutant: Mutant) -> Claim | None:
    """The claim about a mutant, if there is one."""
    for claim in CLAIMS:
        if claim.kind == mutant.kind and all(part in mutant.text for part in claim.parts):
            return claim
    return None


def is_idle(mutant: Mutant) -> bool:
    """Whether a mutant leaves every bit of every result as it was."""
    for case in _all(mutant):
        planted, function = mutant.plant(case)
        there, here = (
            function(planted.spec, planted.x, planted.params, planted.mask),
            NUMPY(*case[1:5]),
        )
        if any(not np.array_equal(there[name], here[name], equal_nan=True) for name in here):
            return False
    return True


def shown(mutant: Mutant) -> bool:
    """Whether its results at 60 digits are the right ones in all cases with finite data."""
    with digits.precision(), np.errstate(all="ignore"):
        return all(_near(*pair) for case in _all(mutant) for pair in mutant.sixty(case))


def _all(mutant: Mutant) -> Iterable[Case]:
    return (case for name in mutant.penalties for case in cases_of(name) if is_finite(case))


def _near(mutant: Any, true: Any) -> bool:
    mutant, true = (np.asarray(each, dtype=object) for each in (mutant, true))
    return bool(np.all(abs(mutant - true) <= SAME * (1 + abs(true))))
