"""The one abstraction: a penalty is a scalar value and its closed-form gradient, written side by side."""

import abc
import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from . import fields, functional
from .replicas import Alone as Alone

if TYPE_CHECKING:
    from .pieces import Parts

Array = Any  # an array of the library behind `xp`
Params = Mapping[str, Array]  # learned parameters, and inputs beside `x`, by name
Shape = tuple[int | None, ...]  # None is a size that is not known yet
FORMULAS = ("value", "grad", "of_units", "by_units", "of_matrix", "by_matrix")  # methods that a penalty is defined by
Gradient = tuple[Array, dict[str, Array]]  # (d value / d x, {name: d value / d parameter})


class Example(NamedTuple):
    """A spec and a shape on which the conformance suite exercises it, with a mask over the leading `mask_ndim` axes.

    For each of `spec.inputs()` there is a shape to fill, or a NumPy array to take as it is; there may be one for a
    learned parameter as well, in the place of `spec.init()`.
    """

    spec: "Penalty"
    shape: tuple[int, ...]
    mask_ndim: int = 0
    inputs: Mapping[str, tuple[int, ...] | np.ndarray] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalty(abc.ABC):
    """A scalar function of an array and, for some penalties, of learned parameters. Equal specs are the same function.

    Calling a spec on an array is the front door: it checks the input, decides the precision, and gives a 0-d array
    whose derivative is `grad`. `value` and `grad` are the maths alone: `x` and `params` arrive in the dtype to compute
    in.

    >>> penalty = L2()
    >>> print(penalty == L2(), 2.0 * penalty)
    True Scaled(weight=2.0, penalty=L2())
    >>> float(penalty(np.asarray([1.0, 3.0])))
    5.0
    """

    additive: ClassVar[bool] = True  # a mean over equal shards or micro-batches equals the whole
    coupled: ClassVar[bool] = False  # multiplies the task loss instead of being added to it
    maskable: ClassVar[bool] = False  # takes a mask over the leading axes of `x`
    autograph_info__: ClassVar[dict[str, Any]] = {}  # for TensorFlow's AutoGraph: nothing in a spec wants rewriting

    def __init_subclass__(cls, **options: Any) -> None:
        """A class with formulas of its own does not inherit a cheaper way to others."""
        super().__init_subclass__(**options)
        if "one_pass" not in vars(cls) and any(name in vars(cls) for name in FORMULAS):
            cls.one_pass = Penalty.one_pass  # type: ignore[method-assign]
        if "value_and_grad" in vars(cls) and "value_alone" not in vars(cls):
            cls.value_alone = Penalty.value_alone  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Raise for fields that make no sense; a class that overrides this calls it first."""
        fields.validate(self)

    def init(self) -> dict[str, np.ndarray]:
        """Initial learned parameters, in float32: the same numbers in every framework."""
        return {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the learned parameters. Override it where `init` takes time: every call asks."""
        return {name: initial.shape for name, initial in self.init().items()}

    def inputs(self) -> dict[str, str]:
        """Arrays that the penalty needs beside `x`: {name: "real floating", "integral" or "bool"}.

        They arrive in `params`, under names that no learned parameter has. `grad` has a derivative by each that is
        floating, and by no other.
        """
        return {}

    def check(self, shape: Shape, **inputs: Shape) -> None:  # noqa: B027 - most penalties take any shape
        """Raise ValueError for shapes, of `x` and of the inputs beside it, on which the penalty is not defined."""

    @abc.abstractmethod
    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        """The penalty, a 0-d array of the dtype of `x`."""

    @abc.abstractmethod
    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        """The derivative of `value`, in closed form: (d value / d x, {name: d value / d parameter})."""

    def one_pass(self, shape: Shape, across: Any) -> bool:
        """Whether there is a cheaper way to value and gradient of such an array than `value` and `grad`.

        It may look at sizes, where they are known, and at nothing else.
        """
        return False

    def value_and_grad(
        self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone
    ) -> tuple[Array, Gradient]:
        """What `value` and `grad` give, in one pass and with less memory; it is used where `one_pass` says so."""
        args = (xp, x, params)
        return self.value(*args, mask=mask, across=across), self.grad(*args, mask=mask, across=across)

    def value_alone(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        """The value of `value_and_grad`, where nobody asks for the gradient; override it where that costs less."""
        return self.value_and_grad(xp, x, params, mask=mask, across=across)[0]

    def apart(self, shape: Shape, across: Any) -> "Parts | None":
        """How a large array comes apart, so that it can be computed in pieces; None if it does not.

        A penalty that is a function of a sum over slices along some of the axes says so here; see `pieces.Parts`. A
        subclass that has another `value` or `grad` is computed whole, unless it has an `apart` of its own.
        """
        return None

    def value_holding(self, xp: Any, x: Array, params: Params, held: Params, *, mask: Array = None) -> Array:
        """`value`, where what `grad` regards as constant comes from `held`, copies of `x` under "x" and of the inputs.

        A penalty that detaches a part of itself overrides this, so that its gradient can be checked.
        """
        return self.value(xp, x, params, mask=mask)

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> Iterator[Example]:
        """Specs and shapes that the conformance suite exercises."""

    def terms(self) -> tuple["Term", ...]:
        """The weighted penalties that this spec adds up."""
        return (Term(type(self).__name__, self, coupled=self.coupled),)

    @property
    def exact(self) -> bool:
        """Whether the whole spec is computed in float64, whatever the dtype of `x`."""
        return any(term.exact for term in self.terms())

    @property
    def plain(self) -> bool:
        """Whether the whole spec is computed by its plain forms; see `regcore.plain`."""
        return any(term.plain for term in self.terms())

    def named(self, name: str) -> "composition.Named":
        """This penalty under another name in reports and among parameters."""
        return composition.Named(name=name, penalty=self)

    def __call__(
        self, x: Array, params: Params | None = None, *, mask: Array = None, across: Any = Alone, **inputs: Array
    ) -> Array:
        return functional.value(self, x, params, mask=mask, across=across, **inputs)

    def __str__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        changed = (f"{field.name}={_shown(value)}" for field, value in values if value != field.default)
        return f"{type(self).__name__}({', '.join(changed)})"

    def __mul__(self, weight: float) -> "composition.Scaled":
        if not isinstance(weight, numbers.Real):
            return NotImplemented
        return composition.Scaled(weight=float(weight), penalty=self)

    __rmul__ = __mul__

    def __add__(self, other: "Penalty") -> "composition.Sum":
        if not isinstance(other, Penalty):
            return NotImplemented
        return composition.Sum(parts=(self, other))


@dataclasses.dataclass(frozen=True)
class Term:
    """One penalty of a spec, with how it enters the loss: `weight * penalty`, added, or multiplying if `coupled`."""

    name: str
    penalty: Penalty
    weight: float = 1.0
    coupled: bool = False
    exact: bool = False
    plain: bool = False
    every: int = 1  # step of training on which it counts, so many times as much
    prefix: str = ""  # before the names of its learned parameters, where a spec has several terms

    @property
    def spec(self) -> Penalty:
        """The unweighted penalty in the precision and the form asked for."""
        spec = options.Exact(penalty=self.penalty) if self.exact else self.penalty
        return options.Plain(penalty=spec) if self.plain else spec

    def init(self) -> dict[str, np.ndarray]:
        """Initial learned parameters under their names in the whole spec."""
        return {self.prefix + name: array for name, array in self.penalty.init().items()}

    def select(self, params: Params) -> dict[str, Array]:
        """This term's own among the parameters of the whole spec, and the inputs that it shares with other terms."""
        inputs = {name: params[name] for name in self.penalty.inputs() if name in params}
        return {**inputs, **{name: params[self.prefix + name] for name in self.penalty.shapes()}}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return str(value) if isinstance(value, Penalty) else repr(value)


from . import composition, options  # noqa: E402 - made of penalties, as `*` and `+` above make compositions
