"""Every penalty's docstring says what leaves it unchanged, after "Unchanged by:"; exactly that does."""

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcore import value_and_grad
from regcore.config import catalogue


class Change(NamedTuple):
    """A change of x, and how a gradient at what it makes is brought back; `implies` are special cases of it."""

    of: Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]
    implies: tuple[str, ...] = ()


def permuted(axis):
    def change(x, rng):
        order = rng.permutation(x.shape[axis])
        return np.take(x, order, axis=axis), lambda g: np.take(g, np.argsort(order), axis=axis)

    return change


def all_permuted(x, rng):
    order = rng.permutation(x.size)
    return x.ravel()[order].reshape(x.shape), lambda g: g.ravel()[np.argsort(order)].reshape(g.shape)


def times(choose):
    def change(x, rng):
        factor = choose(x, rng)
        return x * factor, lambda g: g * factor

    return change


def plus(choose):
    def change(x, rng):
        return x + choose(x, rng), lambda g: g

    return change


def rotated(axis):
    def change(x, rng):
        q = np.linalg.qr(rng.normal(size=(x.shape[axis],) * 2))[0]
        return (
            np.moveaxis(np.moveaxis(x, axis, -1) @ q, -1, axis),
            lambda g: np.moveaxis(np.moveaxis(g, axis, -1) @ q.T, -1, axis),
        )

    return change


def reversed_in_time(x, rng):
    return x[:, ::-1], lambda g: g[:, ::-1]


def rows(x):
    return (len(x), *(1,) * (x.ndim - 1))


CHANGES = {
    "order of entries": Change(all_permuted, ("order of samples", "order of units", "reversal of time")),
    "order of samples": Change(permuted(0)),
    "order of units": Change(permuted(-1)),
    "reversal of time": Change(reversed_in_time),
    "sign of x": Change(times(lambda x, rng: -1.0)),
    "sign of each row": Change(times(lambda x, rng: rng.choice([-1.0, 1.0], size=rows(x))), ("sign of x",)),
    "signs of entries": Change(times(lambda x, rng: rng.choice([-1.0, 1.0], size=x.shape)), ("sign of each row",)),
    "scale of x": Change(times(lambda x, rng: np.exp(rng.normal()))),
    "length of each row": Change(times(lambda x, rng: np.exp(rng.normal(size=rows(x)))), ("scale of x",)),
    "a constant": Change(plus(lambda x, rng: rng.normal())),
    "a constant for each unit": Change(plus(lambda x, rng: rng.normal(size=x.shape[-1])), ("a constant",)),
    "a constant for each sample": Change(plus(lambda x, rng: rng.normal(size=rows(x))), ("a constant",)),
    "rotation of units": Change(rotated(-1), ("order of units", "sign of x")),
    "rotation of samples": Change(rotated(0), ("order of samples", "sign of x")),
}
PENALTIES = pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)


def stated(kind):
    """The names after "Unchanged by:" in the docstring."""
    found = re.search(r"Unchanged by: ([^.:]*)[.:]", " ".join(inspect.getdoc(kind).split()))
    assert found, f"the docstring of {kind.__name__} does not say what it is 'Unchanged by:', if only 'nothing.'"
    return [] if found[1] == "nothing" else found[1].split(", ")


def implied(names):
    names = set(names)
    while more := {name for known in names for name in CHANGES[known].implies} - names:
        names |= more
    return names


def differences(kind, name, seed, examples):
    """How far value and gradient are from those of x, relative to their size, over random x."""
    rng = np.random.default_rng(seed)
    for example in examples:
        params = {**example.spec.init(), **{n: fill(rng, given) for n, given in example.inputs.items()}}
        x = rng.normal(size=example.shape)
        value, (dx, _) = value_and_grad(example.spec, x, params)
        changed, back = CHANGES[name].of(x, rng)
        other, (other_dx, _) = value_and_grad(example.spec, changed, params)
        size = np.abs(dx).max() + abs(value) + 1e-300
        yield max(abs(other - value), np.abs(back(other_dx) - dx).max()) / size


def fill(rng, given):
    return rng.normal(size=given) if isinstance(given, tuple) else given


def plain_examples(kind):
    """Those with axes and inputs like the first, whose axes are the default ones, and without a mask."""
    first, *_ = examples = list(kind.examples())
    axes = [field for field in kind.__dataclass_fields__ if field.endswith("axis")]
    return [
        e
        for e in examples
        if not e.mask_ndim and len(e.shape) == len(first.shape) and min(e.shape) > 1
        and e.spec.inputs().keys() == first.spec.inputs().keys()
        and all(getattr(e.spec, axis) == getattr(first.spec, axis) for axis in axes)
    ]  # fmt: skip


def meaningful(kind):
    """Time is reversed only where there is time."""
    return CHANGES.keys() - (set() if "time_axis" in kind.__dataclass_fields__ else {"reversal of time"})


@PENALTIES
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_stated_holds_for_value_and_gradient(kind, seed):
    for name in stated(kind):
        assert max(differences(kind, name, seed, plain_examples(kind)), default=0.0) < 1e-9, name


@PENALTIES
def test_what_holds_is_stated(kind):
    known = implied(stated(kind))
    for name in meaningful(kind) - known:
        worst = [max(differences(kind, name, seed, plain_examples(kind)), default=1.0) for seed in range(4)]
        assert max(worst) > 1e-6, f"{name} leaves {kind.__name__} unchanged, and its docstring does not say so"
