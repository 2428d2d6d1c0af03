"""What the annotations of a spec's fields say: resolved, limited to plain data, and in words."""

import dataclasses
import types
import typing
from typing import Any, ClassVar, Literal

_hints: dict[type, dict[str, Any]] = {}


def of(kind: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass, resolved."""
    if kind not in _hints:
        _hints[kind] = _resolve(kind)
    return _hints[kind]


def text(annotation: Any) -> str:
    """What an annotation asks for, in words.

    >>> from regcore.annotations import text
    >>> text(float | tuple[int, ...] | None)
    'a finite float, or a tuple in which each is an int, or None'
    """
    if annotation is float:
        return "a finite float"
    if annotation is int:
        return "an int"
    if annotation is types.NoneType:
        return "None"
    if is_union(annotation):
        return ", or ".join(map(text, typing.get_args(annotation)))
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return " or ".join(map(repr, parts))
    if typing.get_origin(annotation) is tuple:
        items = (
            f"each is {text(parts[0])}" if parts[-1] is Ellipsis else "; ".join(map(text, parts)) + ", in this order"
        )
        return f"a tuple in which {items}"
    return f"a {annotation.__name__}"


def _resolve(kind: Any) -> dict[str, Any]:
    declared = kind.__dataclass_fields__  # not dataclasses.fields, which torch.compile cannot trace
    found = {name: field.type for name, field in declared.items() if field.init and not _is_constant(field.type)}
    if "__dataclass_fields__" not in vars(kind):
        _refuse_undecorated(kind)
    if any(isinstance(annotation, str) for annotation in found.values()):
        hints = _evaluated(kind)
        found = {name: hints[name] for name in found if not _is_constant(hints[name])}
    for name, annotation in found.items():
        if not _is_plain(annotation):
            raise TypeError(
                f"{kind.__name__}.{name} is annotated {annotation}; a spec is plain data, so expected int, float, "
                "bool, str, None, Literal, a penalty, or a tuple or union of these"
            )
    return found


def _refuse_undecorated(kind: type) -> None:
    if lost := [name for name, hint in kind.__annotations__.items() if not _is_constant(hint)]:
        raise TypeError(
            f"{kind.__name__} has the annotations {lost} and is no dataclass of its own, so they are no fields: "
            "decorate it with @dataclasses.dataclass(frozen=True, kw_only=True), or annotate constants with ClassVar"
        )


def _evaluated(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError as error:
        raise TypeError(
            f"an annotation of {kind.__name__} cannot be resolved ({error}): import it at the top of its module"
        ) from error


def _is_constant(annotation: Any) -> bool:
    """Whether it declares a constant of the class, as ClassVar does, and no field."""
    if isinstance(annotation, str):
        return annotation.removeprefix("typing.").startswith("ClassVar")
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _is_plain(annotation: Any) -> bool:
    if is_union(annotation) or typing.get_origin(annotation) is tuple:
        parts = typing.get_args(annotation)
        return bool(parts) and all(part is Ellipsis or _is_plain(part) for part in parts)
    if typing.get_origin(annotation) is Literal or annotation in (bool, int, float, str, types.NoneType):
        return True
    return dataclasses.is_dataclass(annotation)


def is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (types.UnionType, typing.Union)
