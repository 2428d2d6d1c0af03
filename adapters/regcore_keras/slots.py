"""Where the layers of a model are kept by its own code: attributes, lists and dicts of layers."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from .graphs import is_graph
from .layer import Regularize
from .sites import join

OPAQUE = (keras.layers.RNN, keras.layers.Bidirectional, Regularize)  # they need what only their own layers have

BOOKS = ("_layers", "_modules", "_self_", "_obj_")  # where Keras, PyTorch and TensorFlow note what the attributes are


@dataclasses.dataclass
class Slot:
    """An attribute of `owner` that is `layer`, or a list, tuple or dict with it; or a Sequential that has it."""

    owner: keras.Layer
    attribute: str
    layer: keras.Layer


def slots(model: keras.Layer) -> dict[str, Slot]:
    """By path, every layer that can be replaced. Raises ValueError where two layers share a path."""
    found: dict[str, Slot] = {}
    for path, slot in _slots(model, ""):
        if found.setdefault(path, slot).layer is not slot.layer:
            raise ValueError(f"{model.name} has two layers at {path!r}; give each a name of its own")
    return found


def put(slot: Slot, new: keras.Layer) -> None:
    """Have the owner keep `new` in the place of the layer."""
    owner, old = slot.owner, slot.layer
    if isinstance(owner, keras.Sequential):
        layers = [new if layer is old else layer for layer in owner.layers]
        while owner.layers:
            owner.pop(rebuild=False)
        for layer in layers:
            owner.add(layer)
    else:
        value = _attributes(owner)[slot.attribute]
        owner._tracker.untrack(old)
        setattr(owner, slot.attribute, _replaced(value, old, new))
    slot.layer = new


def _slots(owner: keras.Layer, path: str) -> Iterator[tuple[str, Slot]]:
    if isinstance(owner, OPAQUE) or is_graph(owner):
        return
    for attribute, value in _attributes(owner).items():
        for layer in _layers(value):
            own = join(path, layer.name)
            yield own, Slot(owner, attribute, layer)
            yield from _slots(layer, own)


def _attributes(owner: keras.Layer) -> dict[str, Any]:
    if isinstance(owner, keras.Sequential):
        return {"layers": owner.layers}
    own = {name: value for name, value in vars(owner).items() if not name.startswith(BOOKS)}
    return {**own, **(dict(owner.named_children()) if keras.backend.backend() == "torch" else {})}


def _layers(value: Any) -> list[keras.Layer]:
    if isinstance(value, dict):
        value = list(value.values())
    values = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if isinstance(one, keras.Layer) and not isinstance(one, Regularize)]


def _replaced(value: Any, old: keras.Layer, new: keras.Layer) -> Any:
    if isinstance(value, dict):
        return {key: new if one is old else one for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        kept = [new if one is old else one for one in value]
        return tuple(kept) if isinstance(value, tuple) else kept
    return new
