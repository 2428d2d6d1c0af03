"""From the step of training to the coefficient of a penalty: pure functions, as data."""

import abc
import dataclasses
import math
import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from . import backends, config, fields
from .penalty import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(abc.ABC):
    """A coefficient for each step, counted from 0. The same step always gives the same number.

    An int gives a float. A 0-d array of integers gives a 0-d float32 array of its library, also where the step is
    traced by jax.jit, tf.function or torch.compile, so the coefficient changes without a new trace. Fields are checked:
    TypeError for the wrong type, ValueError for what makes no sense. A call raises TypeError for a step that is no
    integer, and ValueError for a negative int or an array that is not 0-d; an array's value is not looked at.
    """

    autograph_info__: ClassVar[dict[str, Any]] = {}  # for TensorFlow's AutoGraph: nothing here wants rewriting

    def __post_init__(self) -> None:
        fields.validate(self)

    @abc.abstractmethod
    def at(self, xp: Any, step: Array, dtype: Any) -> Array:
        """The coefficient as a 0-d array of `dtype`."""

    def __call__(self, step: Any) -> Any:
        if isinstance(step, (int, float)):
            array = np.asarray(checked(step), dtype=np.int64)
            return float(self.at(backends.of(array).namespace(array), array, np.float64))
        backend = backends.of(step)
        xp = backend.namespace(step)
        if not xp.isdtype(step.dtype, "integral") or backend.shape(step) != ():
            raise _not_a_step(f"an array of dtype {step.dtype} and shape {backend.shape(step)}")
        return self.at(xp, step, xp.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """`value` at every step.

    >>> from regcore.schedules import Constant
    >>> Constant(value=0.5)(1000)
    0.5
    """

    value: float

    def at(self, xp: Any, step: Array, dtype: Any) -> Array:
        return self.value * _one(xp, step, dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ramp(Schedule):
    """`start` until step `delay`, then on the way for `steps` steps, and `stop` from step `delay + steps` on."""

    start: float
    stop: float
    steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, "steps", self.steps, 1)
        _at_least(self, "delay", self.delay, 0)

    @staticmethod
    @abc.abstractmethod
    def left(xp: Any, t: Array) -> Array:
        """How much of `start` is left after the fraction `t` of the way: 1 at 0, and 0 at 1."""

    def at(self, xp: Any, step: Array, dtype: Any) -> Array:
        one = _one(xp, step, dtype)
        way = xp.astype(xp.where(step < self.delay, 0 * step, step - self.delay), dtype) / self.steps
        left = self.left(xp, way)
        between = self.start * left + self.stop * (1.0 - left)
        return xp.where(step < self.delay + self.steps, between, self.stop * one)


class Linear(_Ramp):
    """`start + (stop - start) * (step - delay) / steps`, kept at `start` before and at `stop` after.

    A warm-up if it rises, a decay if it falls. `L2` on the last features with a weight that grows during training is
    the regularizer of AL2 (M. El Helou, F. Dümbgen, S. Süsstrunk, arXiv:2003.03633).

    >>> from regcore.schedules import Linear
    >>> warm_up = Linear(start=0.0, stop=2.0, steps=10, delay=5)
    >>> warm_up(5), warm_up(10), warm_up(100)
    (0.0, 1.0, 2.0)
    """

    @staticmethod
    def left(xp: Any, t: Array) -> Array:
        return 1.0 - t


class Cosine(_Ramp):
    """`stop + (start - stop) * (1 + cos(pi * (step - delay) / steps)) / 2`, kept at `start` before, at `stop` after.

    Slow at both ends (I. Loshchilov, F. Hutter, "SGDR", arXiv:1608.03983, within one period).

    >>> from regcore.schedules import Cosine
    >>> decay = Cosine(start=1.0, stop=0.0, steps=100)
    >>> decay(0), round(decay(50), 12), decay(100)
    (1.0, 0.5, 0.0)
    """

    @staticmethod
    def left(xp: Any, t: Array) -> Array:
        return 0.5 + 0.5 * xp.cos(math.pi * t)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """`values[i]`, where i milestones have been reached: `values[1]` from step `milestones[0]` on.

    >>> from regcore.schedules import Step
    >>> steps = Step(values=(1.0, 0.1, 0.0), milestones=(100, 200))
    >>> steps(99), steps(100), steps(200)
    (1.0, 0.1, 0.0)
    """

    values: tuple[float, ...]
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.values) != len(self.milestones) + 1:
            raise ValueError(
                f"{self} has {len(self.values)} values and {len(self.milestones)} milestones; "
                "it needs one value more than milestones"
            )
        if list(self.milestones) != sorted({step for step in self.milestones if step > 0}):
            raise ValueError(f"{self}: milestones are positive steps, each later than the one before")

    def at(self, xp: Any, step: Array, dtype: Any) -> Array:
        one = _one(xp, step, dtype)
        result = self.values[0] * one
        for milestone, value in zip(self.milestones, self.values[1:], strict=True):
            result = xp.where(step < milestone, result, value * one)
        return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cyclic(Schedule):
    """From `low` to `high` and back in every `period` steps, along straight lines or a cosine; `low` at step 0.

    >>> from regcore.schedules import Cyclic
    >>> cycle = Cyclic(low=0.0, high=1.0, period=8)
    >>> [cycle(step) for step in (0, 2, 4, 6, 8)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    low: float
    high: float
    period: int
    shape: Literal["triangular", "cosine"] = "triangular"

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, "period", self.period, 2)

    def at(self, xp: Any, step: Array, dtype: Any) -> Array:
        t = xp.astype(step % self.period, dtype) / self.period
        rise = 2.0 * xp.where(t < 0.5, t, 1.0 - t)
        if self.shape == "cosine":
            rise = 0.5 - 0.5 * xp.cos(math.pi * rise)
        return self.low * (1.0 - rise) + self.high * rise


KINDS: tuple[type[Schedule], ...] = (Constant, Cosine, Cyclic, Linear, Step)


def to_config(schedule: Schedule) -> dict[str, Any]:
    """The schedule as JSON-serializable data. TypeError for a function, which has no such form."""
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"{reprlib.repr(schedule)} has no JSON form; expected one of {[kind.__name__ for kind in KINDS]}: "
            "a function of the step stays in code"
        )
    described: dict[str, Any] = config.describe(schedule)
    return described


def from_config(described: Mapping[str, Any]) -> Schedule:
    """The schedule that `to_config` described; raises for wrong data as `regcore.from_config` does."""
    schedule: Schedule = config.build(described, {kind.__name__: kind for kind in KINDS}, "schedule")
    return schedule


def _one(xp: Any, step: Array, dtype: Any) -> Array:
    return xp.ones_like(xp.astype(step, dtype))


def checked(step: Any) -> int:
    """The step, if it is one; TypeError and ValueError as `Schedule` says."""
    if type(step) is not int:
        raise _not_a_step(f"{step!r}, which is a {type(step).__name__}")
    if step < 0:
        raise ValueError(f"got the step {step}; steps count from 0")
    return step


def _not_a_step(what: str) -> TypeError:
    return TypeError(f"got {what} for a step; expected an int, or a 0-d array of integers")


def _at_least(schedule: Schedule, name: str, given: int, least: int) -> None:
    if given < least:
        raise ValueError(f"{schedule} has {name}={given}; expected at least {least}")
