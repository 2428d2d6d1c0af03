"""Where in a model layers and weights are: dotted paths of layer names, from the model down."""

import abc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

from .layer import Regularize
from .parametrize import Parametrized
from .wrap import Regularized

Tensor = Any


class Transparent(abc.ABC):  # noqa: B024 - others register
    """A layer that stands at the path of the one layer it wraps."""


Transparent.register(Regularized)
Transparent.register(Parametrized)


class Site(NamedTuple):
    """A layer, its path, and the layers around it from the outermost inwards."""

    path: str
    layer: keras.Layer
    above: tuple[keras.Layer, ...]


def walk(parent: keras.Layer, path: str = "", above: tuple[keras.Layer, ...] = ()) -> Iterator[Site]:
    """Every layer in `parent`, under each of its paths. What wraps a layer stands at the path of that layer."""
    above = (*above, parent)
    for child in parent._flatten_layers(include_self=False, recursive=False):
        named = child.site if isinstance(child, Regularize) else None
        child_path = join(path, named or ("" if isinstance(parent, Transparent) else child.name))
        yield Site(child_path, child, above)
        yield from walk(child, child_path, above)


def join(path: str, name: str) -> str:
    return ".".join(filter(None, (path, name)))


def penalty_sites(model: keras.Layer) -> dict[str, Regularize]:
    """The `Regularize` layers by path, each under its first. Raises ValueError where two layers share a path."""
    paths: dict[Regularize, str] = {}
    for path, layer, _ in walk(model):
        if isinstance(layer, Regularize):
            paths.setdefault(layer, path)
    if len(set(paths.values())) < len(paths):
        raise ValueError(f"{model.name} has Regularize layers at {list(paths.values())}; give each a name of its own")
    return {path: layer for layer, path in paths.items()}


def weight_sites(model: keras.Layer) -> dict[str, tuple[int, Callable[[], Tensor]]]:
    """The weights that train, as they are computed with: by path an identity, the same for tied ones, and the value."""
    sites: dict[str, tuple[int, Callable[[], Tensor]]] = {}
    for path, layer, above in walk(model):
        if isinstance(layer, Parametrized):
            for name in layer.effective():
                sites[join(path, name)] = (hash((id(layer), name)), _effective(layer, name))
        elif not any(isinstance(part, Regularize) for part in (layer, *above)):
            inner = {id(weight) for child in layer._flatten_layers(include_self=False) for weight in child.weights}
            for weight in layer.trainable_weights:
                if id(weight) not in inner:
                    sites.setdefault(join(path, weight.name), (id(weight), _value(weight)))
    return sites


def _value(weight: keras.Variable) -> Callable[[], Tensor]:
    return lambda: weight.value


def _effective(layer: Parametrized, name: str) -> Callable[[], Tensor]:
    return lambda: layer.effective()[name]
