"""Logits along one axis as a distribution, at each position of the other axes."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .penalty import Array, Penalty


class Softmax(NamedTuple):
    """Probabilities exp(shifted - log_total), of the logits largest + shifted."""

    p: "Array"
    shifted: "Array"
    largest: "Array"  # with an axis of length one, as has log_total
    log_total: "Array"


def softmax(xp: Any, z: "Array", axis: int) -> Softmax:
    """Nothing overflows; a logit of -inf is a class that is not there, of probability 0."""
    largest = xp.max(z, axis=axis, keepdims=True)
    shifted = z - largest
    exponential = xp.exp(shifted)
    total = xp.sum(exponential, axis=axis, keepdims=True)
    return Softmax(exponential / total, shifted, largest, xp.log(total))


def check_mask(spec: "Penalty", feature_axis: int, x: "Array", mask: "Array") -> None:
    """ValueError for a mask that covers the axis of the logits."""
    axis = feature_axis % len(x.shape)
    if mask is not None and len(mask.shape) > axis:
        raise ValueError(
            f"{spec} got a mask with {len(mask.shape)} axes, which covers the feature axis {axis}; it hides whole "
            "positions: pass one over axes before it"
        )
