"""What sets the coefficients of terms as training goes on, and resumes where a checkpoint left it."""

import math
import numbers
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from .schedules import checked


class Schedules:
    """A step counter that sets the coefficient of each term by its schedule, through `set_coefficient(term, value)`.

    `schedules` has, for each term, a schedule or any function from the step, an int, to a number, which replaces the
    weight of the term. `set_coefficient` is that of a layer of an adapter, or any function. The coefficients of step 0
    are set at once, and those of the next with each `step()`: call it after each step of the optimizer.

        layer = regcore_torch.Regularize(2.0 * AR() + TAR())
        schedules = Schedules({"TAR": Linear(start=0.0, stop=1.0, steps=1000)}, layer.set_coefficient)

    Raises TypeError for what is no function and a result that is no number, ValueError for one that is not finite, and
    what `set_coefficient` raises for a term it does not have.
    """

    def __init__(
        self,
        schedules: Mapping[str, Callable[[int], float]],
        set_coefficient: Callable[[str, float], None],
    ) -> None:
        for term, schedule in schedules.items():
            if not callable(schedule):
                raise TypeError(f"{term!r} got {schedule!r}; expected a schedule, such as Constant(value=0.5)")
        self._schedules = dict(schedules)
        self._set_coefficient = set_coefficient
        self._go_to(0)

    def step(self) -> None:
        """Go on by one step."""
        self._go_to(self._step + 1)

    def coefficients(self) -> dict[str, float]:
        """The coefficient of each term at the present step, as it was set."""
        return dict(self._coefficients)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint has to keep."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to the step of a checkpoint, and set its coefficients at once."""
        if state.keys() != {"step"}:
            raise ValueError(f"got a state with the keys {sorted(state)}; expected what state_dict gave, with 'step'")
        self._go_to(checked(state["step"]))

    def _go_to(self, step: int) -> None:
        found = {term: _number(term, schedule(step), step) for term, schedule in self._schedules.items()}
        for term, coefficient in found.items():
            self._set_coefficient(term, coefficient)
        self._step, self._coefficients = step, found


def _number(term: str, result: Any, step: int) -> float:
    if isinstance(result, bool) or not isinstance(result, numbers.Real):
        raise TypeError(
            f"the schedule of {term!r} gave {reprlib.repr(result)} at step {step}, which is a {type(result).__name__}; "
            "expected a number: convert it by float(...)"
        )
    if not math.isfinite(result):
        raise ValueError(f"the schedule of {term!r} gave {result} at step {step}; a coefficient is a finite number")
    return float(result)
