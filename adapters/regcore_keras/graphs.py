"""Functional models, on whose layers penalty layers are put by calling them anew."""

from collections.abc import Mapping
from typing import Any

import keras
from keras.src.models.functional import Functional  # Keras exports it under no public name

from regcore.penalty import Penalty

from .layer import Regularize
from .sites import join
from .wrap import tapped


class Rewriting:
    """Calls the layers of a functional model on new inputs, with penalty layers behind those that were found."""

    def __init__(self, found: Mapping[str, Penalty], options: Mapping[str, Any]) -> None:
        self._found, self._options = found, dict(options)
        self._select = self._options.pop("select")
        self._penalties: dict[str, Regularize] = {}
        self._models: dict[int, keras.Model] = {}

    def tensors(self, model: keras.Model, path: str = "") -> tuple[Any, Any]:
        """New inputs and outputs, of a model at `path`."""

        def inner(layer: Any) -> Any:
            return self.model(layer, join(path, layer.name)) if is_graph(layer) else layer

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._tapped(join(path, layer.name), layer(*args, **kwargs))

        single = isinstance(model, keras.Sequential)
        graph = Functional(model.inputs[0], model.outputs[0]) if single else model
        copy = keras.models.clone_model(graph, clone_function=inner, call_function=call)
        return copy.input, copy.output

    def model(self, model: keras.Model, path: str) -> keras.Model:
        """The model itself if nothing in it was found."""
        if not any(site.startswith(f"{path}.") for site in self._found):
            return model
        if id(model) not in self._models:
            self._models[id(model)] = Functional(*self.tensors(model, path), name=model.name)
        return self._models[id(model)]

    def _tapped(self, path: str, outputs: Any) -> Any:
        if path not in self._found:
            return outputs
        if path not in self._penalties:  # one for all calls of a shared layer
            name = path.rpartition(".")[2]
            self._penalties[path] = Regularize(self._found[path], site=name, name=f"{name}_penalty", **self._options)
        return tapped(outputs, self._select, self._penalties[path])


def is_graph(layer: Any) -> bool:
    """Whether it is a functional model, or a Sequential that is one inside."""
    if isinstance(layer, keras.Sequential):
        return layer.built and bool(layer.inputs)
    return isinstance(layer, Functional)


def graph_paths(model: keras.Model, path: str = "") -> list[str]:
    """Those of its layers, and of the layers of such models in it."""
    paths = []
    for layer in model.layers:
        if not isinstance(layer, (keras.layers.InputLayer, Regularize)):
            own = join(path, layer.name)
            paths += [own, *(graph_paths(layer, own) if is_graph(layer) else ())]
    return paths
