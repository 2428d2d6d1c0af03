"""Cases that mutants asked for: what the examples of the penalties do not have, and mistakes could hide behind."""

from collections.abc import Iterator

import numpy as np

import regcore
from regcore import (
    FLOPS,
    BarlowTwins,
    BatchEntropy,
    CenterLoss,
    ConfidencePenalty,
    Example,
    LoadBalance,
    MaxCosine,
    MutualCoherence,
    NuclearNorm,
    Orthogonality,
    SpectralIsometry,
    Variance,
)
from regcore.reduction import Reduced

from ..cases import Case, all_cases

PATTERNS = ("dense", "relu")
EXAMPLES: dict[type[regcore.Penalty], list[Example]] = {
    BatchEntropy: [Example(BatchEntropy(alpha=0.125, alpha_min=0.25), (5, 2))],  # alpha below its floor
    BarlowTwins: [Example(BarlowTwins(batch_axis=(0, 2)), (2, 3, 2), inputs={"other": (2, 3, 2)})],
    MaxCosine: [Example(MaxCosine(welch=True), (2, 3))],  # no more vectors than dimensions, where the bound is 0
    Orthogonality: [  # the same, and kinks that are not at 0
        Example(Orthogonality(welch=True), (2, 3)),
        Example(Orthogonality(power=1, threshold=0.25), (4, 3)),
    ],
}
CORNER = np.asarray([[0.75, 1, 0.5], [0.75, -0.5, 0], [-0.75, 0.25, 1], [-0.75, 2, 3]])  # of the first, 9/16 + 7/16 = 1
BETWEEN = np.asarray([[3.0, 0.0, 1.0], [2.0, 2.0, 1.0], [0.0, 3.0, 1.0]])  # the second is as near to both others
ABSENT = np.asarray([[-np.inf, 1.0, 2.0], [0.0, 1.0, 1.0]])
TINY = np.asarray([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]) * 2.0**-40


def asked(kind: type[regcore.Penalty]) -> list[Case]:
    """Those of one penalty; their references are computed by its transcription, save where NaN is due."""
    return [*_of_examples(kind.__name__, EXAMPLES.get(kind, [])), *_of_data(kind), *_of_nothing(kind)]


def _of_examples(name: str, examples: list[Example]) -> Iterator[Case]:
    stand_in = type(name, (), {"examples": lambda: iter(examples)})
    for case in all_cases([stand_in], PATTERNS):
        yield case._replace(id=case.id.replace("/", "/asked ", 1))


def _of_data(kind: type[regcore.Penalty]) -> Iterator[Case]:
    if kind is Variance:
        yield Case("Variance/asked/corner", Variance(eps=0.4375, correction=0), CORNER, {}, None)
    if kind is ConfidencePenalty:
        yield Case("ConfidencePenalty/asked/absent", ConfidencePenalty(), ABSENT, {}, None)
    if kind is MaxCosine:
        yield Case("MaxCosine/asked/two", MaxCosine(), BETWEEN, {}, None)
    if kind in (NuclearNorm, SpectralIsometry, MutualCoherence):
        yield Case(f"{kind.__name__}/asked/tied", kind(), 1.5 * np.eye(3), {}, None)
    if kind is NuclearNorm:
        yield Case("NuclearNorm/asked/tiny", NuclearNorm(), TINY, {}, None)
    if kind is CenterLoss:
        first = next(iter(all_cases([kind], ["dense"])))
        labels = first.params["labels"] + np.arange(len(first.x), dtype=np.int32) * 3  # of which some are no class
        yield first._replace(id="CenterLoss/asked/nan", params={**first.params, "labels": labels})


def _of_nothing(kind: type[regcore.Penalty]) -> Iterator[Case]:
    """A mask that lets nothing through, where that has a value: not a variance, and not what is of all entries."""
    for case in all_cases([kind], ["dense"]):
        if case.mask is not None and isinstance(case.spec, (Reduced, LoadBalance, FLOPS)):
            yield case._replace(id=f"{kind.__name__}/asked/nothing", mask=np.zeros_like(case.mask))
            return
