"""What attached gradients are multiplied by."""

from collections.abc import Mapping
from typing import Any

import regcore


class Scales:
    """From a site and its spec to a scale for each term: the loss's own times the term's weight or coefficient."""

    def __init__(self, coefficients: Mapping[str, Any] | None, loss_scale: Any) -> None:
        self._coefficients = coefficients or {}
        self._loss_scale = 1.0 if loss_scale is None else loss_scale
        self._names: dict[str, None] = {}

    def __call__(self, site: str, spec: regcore.Penalty) -> dict[str, Any]:
        return {term.name: self._loss_scale * self._weight(f"{site}/{term.name}", term) for term in spec.terms()}

    def check(self) -> None:
        """ValueError for a coefficient that none of the terms so far had."""
        regcore.select(self._coefficients, self._names)

    def _weight(self, name: str, term: regcore.Term) -> Any:
        self._names[name] = None
        return [term.weight, *regcore.match(self._coefficients, name)][-1]
