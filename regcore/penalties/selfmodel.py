"""A network that learns to predict its own activations."""

import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from .. import blocks
from ..counting import kept
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..reduction import Reduced

__all__ = ["SelfModel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfModel(Reduced):
    """`mean((x @ W.T + b - x)**2)`: self-modeling, where `W` and `b` are learned with the network.

    `features` is the size of the last axis of `x`; all others count samples. `targets=m` predicts m features of another
    layer instead, given as `spec(x, params, targets=...)`, and W is then (m, features).

    `gradient` says which part of the residual R = x W^T + b - t the gradient flows through, with k = 2/n for the mean
    over n entries:

        gradient             by x          by targets    by x if it is the target as well
        "target_detached"    k R W         0             k R W
        "input_detached"     0             -k R          -k R
        "full"               k R W         -k R          k R (W - I)

    By W it is always k R^T x, by b the sum of k R over the samples. "target_detached" is what the authors' code does
    and what the published effect needs: it pulls an activation along W^T R, which is not a shrinkage, since in a
    direction where W is a factor w between 0 and 1 it makes the activation grow. "full" shrinks activations towards
    those that W and b reproduce. To regularize the size of activations, use `AR`.

    `init="linear"` draws W and b from U(-1, 1)/sqrt(features), by `seed`, as a new torch.nn.Linear does, so that every
    framework starts from the same numbers; `init="identity"` starts at W = 1 and b = 0, and warns: a layer that
    predicts itself has then no loss and no gradient, and never leaves that point. Units may die where the weight of the
    penalty is large; count them.

    Shapes: two axes or more, the last of known size; a mask covers leading axes, without the features. Memory: twice x,
    and residuals of 1024 samples, or of a sixteenth of them where that is more.
    Unchanged by: order of samples.

    Raises ValueError where `features` and the last axis of `x`, or `targets` and that of the targets, do not agree.

    Source: V. N. Premakumar, M. Vaiana, F. Pop, J. Rosenblatt, D. S. de Lucena, K. Ziman, M. S. A. Graziano,
    "Unexpected benefits of self-modeling in neural systems" (2024), arXiv:2407.10188; their code takes the mean over
    samples and features with the target detached, as here by default.

    >>> penalty = SelfModel(features=2)
    >>> x, params = np.asarray([[1.0, 2.0], [3.0, 5.0]]), {"W": np.zeros((2, 2)), "b": np.asarray([1.0, 2.0])}
    >>> float(penalty(x, params))  # (0 + 0 + 4 + 9) / 4
    3.25
    """

    maskable: ClassVar[bool] = True

    features: int
    targets: int | None = None
    gradient: Literal["target_detached", "input_detached", "full"] = "target_detached"
    initial: Literal["linear", "identity"] = "linear"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features < 1 or (self.targets is not None and self.targets < 1):
            raise ValueError(f"features={self.features} and targets={self.targets}; sizes are 1 or more")
        if self.initial == "identity" and self.targets not in (None, self.features):
            raise ValueError(f"initial='identity' needs as many targets as features; got {self.targets}")
        if self.initial == "identity" and self.targets is None:
            warnings.warn(
                "initial='identity' predicts the layer itself without error: value and gradient are 0 and stay 0; "
                "use initial='linear', or targets of another layer",
                stacklevel=3,
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        m = self.features if self.targets is None else self.targets
        return {"W": (m, self.features), "b": (m,)}

    def init(self) -> dict[str, np.ndarray]:
        if self.initial == "identity":
            return {"W": np.eye(self.features, dtype=np.float32), "b": np.zeros(self.features, dtype=np.float32)}
        rng, limit = np.random.Generator(np.random.Philox(self.seed)), 1.0 / math.sqrt(self.features)
        return {name: rng.uniform(-limit, limit, shape).astype(np.float32) for name, shape in self.shapes().items()}

    def inputs(self) -> dict[str, str]:
        return {} if self.targets is None else {"targets": "real floating"}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        if len(shape) < 2 or shape[-1] != self.features:
            raise ValueError(f"{self} got shape {shape}; expected (..., {self.features}), with an axis of samples")
        if self.targets is not None:
            expected, actual = (*shape[:-1], self.targets), inputs["targets"]
            if len(actual) != len(expected) or any(
                None not in pair and pair[0] != pair[1] for pair in zip(actual, expected, strict=True)
            ):
                raise ValueError(f"{self} got targets of shape {actual} for x of shape {shape}; expected {expected}")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self.value_holding(xp, x, params, {"x": x, **params}, mask=mask)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        target = self._target(x, params)
        return self._of_rows(xp, params, self.share(xp, target, mask), x, target, mask)[1]

    def one_pass(self, shape: Shape, across: Any) -> bool:
        """Three products instead of four, which is worth a node of its own where they are large."""
        return None in shape or math.prod([size or 1 for size in shape]) * self.shapes()["b"][0] >= blocks.ROWS**2

    def value_and_grad(
        self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone
    ) -> tuple[Array, Gradient]:
        target = self._target(x, params)
        share, total, by_x, by_targets = self.share(xp, target, mask), 0.0, [], []
        by_params: dict[str, Array] = {}
        for some in _panels(x, target, mask):
            squares, (slope, by_some) = self._of_rows(xp, params, share, *some)
            total = total + squares
            by_x.append(slope)
            by_targets.append(by_some.pop("targets", None))
            by_params = {name: by_params[name] + d if by_params else d for name, d in by_some.items()}
        if self.targets is not None:
            by_params["targets"] = blocks.joined(xp, by_targets, 0)
        return total * share, (blocks.joined(xp, by_x, 0), by_params)

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        target, total = self._target(x, params), 0.0
        for some, targets, shown in _panels(x, target, mask):
            residual = self._residual(xp, some, params, targets, shown)
            total = total + xp.sum(residual * residual)
        return total * self.share(xp, target, mask)

    def _of_rows(
        self, xp: Any, params: Params, share: "float | Array", x: Array, target: Array, mask: Array
    ) -> tuple[Array, Gradient]:
        """The sum of the squares of residuals, and the gradient, of samples that each have this share."""
        x = kept(xp, x, mask)
        residual = self._residual(xp, x, params, target, mask)
        by_residual = (2.0 * share) * residual
        rows = xp.reshape(by_residual, (-1, residual.shape[-1]))
        by_params = {
            "W": xp.matmul(xp.matrix_transpose(rows), xp.reshape(x, (-1, self.features))),
            "b": xp.sum(rows, axis=0),
        }
        by_input = None if self.gradient == "input_detached" else xp.matmul(by_residual, params["W"])
        by_target = None if self.gradient == "target_detached" else -by_residual
        if self.targets is not None:
            by_params["targets"] = xp.zeros_like(residual) if by_target is None else by_target
            by_input = xp.zeros_like(x) if by_input is None else by_input
        elif by_input is None or by_target is None:
            by_input = by_target if by_input is None else by_input
        else:
            by_input = by_input + by_target
        return xp.sum(residual * residual), (by_input, by_params)

    def value_holding(self, xp: Any, x: Array, params: Params, held: Params, *, mask: Array = None) -> Array:
        target = self._target(held["x"], held) if self.gradient == "target_detached" else self._target(x, params)
        residual = self._residual(xp, held["x"] if self.gradient == "input_detached" else x, params, target, mask)
        return xp.sum(residual * residual) * self.share(xp, residual, mask)

    def _target(self, x: Array, params: Params) -> Array:
        return x if self.targets is None else params["targets"]

    @staticmethod
    def _residual(xp: Any, x: Array, params: Params, target: Array, mask: Array) -> Array:
        W, b = xp.matrix_transpose(params["W"]), params["b"]
        if (addmm := getattr(xp, "addmm", None)) is None:
            return kept(xp, xp.matmul(x, W) + b - target, mask)
        predicted = addmm(b, xp.reshape(x, (-1, x.shape[-1])), W)  # of PyTorch, in one pass over memory less
        return kept(xp, xp.reshape(predicted, target.shape) - target, mask)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(features=3), (4, 3))
        yield Example(cls(features=3, gradient="full"), (4, 3))
        yield Example(cls(features=2, gradient="input_detached", reduction="batch_mean"), (2, 3, 2), mask_ndim=2)
        for gradient in ("target_detached", "input_detached", "full"):
            spec = cls(features=2, targets=3, gradient=gradient, reduction="sum", seed=1)
            yield Example(spec, (4, 2), inputs={"targets": (4, 3)})
        yield Example(cls(features=1), (1, 1))


def _panels(x: Array, target: Array, mask: Array) -> Iterator[tuple[Array, Array, Array]]:
    """Samples, their targets and their part of a mask, cut along the first axis, if its size is known."""
    if None in (x.shape[0], target.shape[0], *(() if mask is None else mask.shape[:1])):
        return iter([(x, target, mask)])
    most = max(1, blocks.ROWS // math.prod([size or 1 for size in x.shape[1:-1]]))
    parts = [blocks.panels(x, 0, most), blocks.panels(target, 0, most)]
    masks = [None] * len(parts[0]) if mask is None else blocks.panels(mask, 0, most)
    return zip(*parts, masks, strict=True)
