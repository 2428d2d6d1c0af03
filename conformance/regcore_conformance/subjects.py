"""The cases of one penalty: those of its examples, or of a spec on a shape that is given."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from regcore import Example, Penalty

from .cases import PATTERNS, Case, all_cases
from .edges import edge_cases


def cases_of(
    penalty: Penalty | type[Penalty],
    shape: tuple[int, ...] | None,
    inputs: Mapping[str, tuple[int, ...] | np.ndarray],
    patterns: Iterable[str],
) -> list[Case]:
    """Every example on every pattern, and at the edges of its domain unless patterns are named.

    A penalty that takes a mask gets one, if its examples have none.
    """
    name = penalty.__name__ if isinstance(penalty, type) else type(penalty).__name__
    given = [*_examples(penalty, shape, inputs)]
    first = given[0]
    if all(term.penalty.maskable for term in first.spec.terms()) and not any(example.mask_ndim for example in given):
        given.append(first._replace(mask_ndim=1 if len(first.shape) < 3 else 2))
    patterns, kind = _known(patterns), _named(name, given)
    return [*all_cases([kind], patterns), *(() if patterns else edge_cases([kind]))]


def _examples(penalty: Any, shape: Any, inputs: Mapping[str, Any]) -> Iterator[Example]:
    spec = penalty() if isinstance(penalty, type) and shape is not None else penalty
    if shape is None:
        kind: type[Penalty] = spec if isinstance(spec, type) else type(spec)
        examples = [*kind.examples()]
        if not examples:
            raise ValueError(f"{penalty} has no examples to be checked on: pass a shape, as in check(spec, (8, 4))")
        if not isinstance(spec, type) and spec not in [example.spec for example in examples]:
            yield examples[0]._replace(spec=spec)
        yield from examples
        return
    if lacking := sorted(spec.inputs().keys() - inputs.keys()):
        raise ValueError(
            f"{spec} needs {lacking} beside x: pass inputs={{{lacking[0]!r}: an array, or a shape to fill}}"
        )
    yield Example(spec, shape, inputs=inputs)


def _named(name: str, examples: Sequence[Example]) -> Any:
    """A stand-in for a class with these examples."""
    return type(name, (), {"examples": staticmethod(lambda: iter(examples))})


def _known(patterns: Iterable[str]) -> list[str]:
    patterns = list(patterns)
    if unknown := [name for name in patterns if name not in PATTERNS]:
        raise ValueError(f"no pattern is called {unknown}; choose from {list(PATTERNS)}")
    return patterns
