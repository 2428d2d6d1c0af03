"""The fields of a spec, checked against their annotations: a wrong one is refused where it is written."""

import dataclasses
import reprlib
import sys
import typing
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from . import annotations


def validate(spec: Any) -> None:
    """Check every field of a frozen dataclass; turn NumPy scalars, and integers where floats are due, into plain ones.

    Annotations are made of int, float, bool, str, None, Literal, dataclasses such as Penalty, tuples and unions.

    Raises TypeError for a value of another type (a bool is no number), and for a class with an annotation of another
    kind or with fields but without the decorator; ValueError for an infinite float, NaN, and what no Literal lists.

    >>> TAR(time_axis="1")
    Traceback (most recent call last):
    TypeError: TAR got time_axis='1', which is a str; expected an int
    """
    kind = type(spec)
    for name in annotations.of(kind):
        given = getattr(spec, name)
        plain = _check(kind, name, given)
        if plain is not given:
            object.__setattr__(spec, name, plain)


def checked(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values for some fields of `kind`, plain; raises as `validate` does."""
    return {name: _check(kind, name, value) for name, value in values.items()}


def _check(kind: type, name: str, given: Any) -> Any:
    annotation = annotations.of(kind)[name]
    plain = given.item() if isinstance(given, np.generic) else given
    try:
        return _fit(annotation, plain)
    except (TypeError, ValueError) as error:
        what = f"{kind.__name__} got {name}={reprlib.repr(given)}"
        if isinstance(error, TypeError):
            what += f", which is a {type(given).__name__}"
        raise type(error)(f"{what}; expected {annotations.text(annotation)}{_advice(given)}") from None


def _fit(annotation: Any, item: Any) -> Any:
    """The item as the annotation has it; TypeError or ValueError if it does not fit."""
    if annotations.is_union(annotation):
        return _fit_one_of(typing.get_args(annotation), item)
    if typing.get_origin(annotation) is Literal:
        return _fit_literal(typing.get_args(annotation), item)
    if typing.get_origin(annotation) is tuple:
        return _fit_tuple(typing.get_args(annotation), item)
    if annotation is float and type(item) in (int, float):
        if not abs(item) <= sys.float_info.max:  # NaN is not, either
            raise ValueError
        return float(item)
    if type(item) is annotation:
        return item
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and isinstance(item, annotation):
        return item
    raise TypeError


def _fit_literal(options: tuple[Any, ...], item: Any) -> Any:
    if any(type(item) is type(option) and item == option for option in options):  # 1 == True
        return item
    raise ValueError if type(item) in map(type, options) else TypeError


def _fit_tuple(parts: tuple[Any, ...], item: Any) -> Any:
    if type(item) is not tuple:
        raise TypeError
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(item)
    if len(parts) != len(item):
        raise ValueError
    fitted = tuple(
        _fit(part, each.item() if isinstance(each, np.generic) else each)
        for part, each in zip(parts, item, strict=True)
    )
    return item if all(new is old for new, old in zip(fitted, item, strict=True)) else fitted


def _fit_one_of(parts: tuple[Any, ...], item: Any) -> Any:
    errors: list[Exception] = []
    fitted: list[Any] = []
    for part in parts:
        try:
            fitted.append(_fit(part, item))
        except (TypeError, ValueError) as error:
            errors.append(error)
    if not fitted:
        raise next((error for error in errors if isinstance(error, ValueError)), errors[0])
    return next((new for new in fitted if new is item), fitted[0])  # an int stays one where both are allowed


def _advice(given: Any) -> str:
    if isinstance(given, list):
        return f": pass {reprlib.repr(tuple(given))}"
    if isinstance(given, bool):
        return "; True and False are no numbers here"
    if type(given).__module__.split(".")[0] in ("builtins", "regcore") or isinstance(given, float):
        return ""
    return ": convert it first, as by float(...) or int(...)"
