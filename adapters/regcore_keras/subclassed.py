"""The model around one whose class is the user's: its layers are wrapped where they are."""

from collections.abc import Mapping
from typing import Any

import keras

import regcore
from regcore.penalty import Penalty
from regcore.sites import choose

from .graphs import Rewriting, graph_paths, is_graph
from .model import RegularizedModel
from .sites import Transparent
from .slots import Slot, put, slots
from .wrap import Regularized

Config = Mapping[str, Any]


@Transparent.register
@keras.saving.register_keras_serializable(package="regcore")
class RegularizedSubclassed(RegularizedModel):
    """What `regularize` makes of a model that is no functional one; `.model` is that, its layers wrapped in place.

    A file of it is loaded by making the model from its own config, and wrapping again.
    """

    def __init__(
        self,
        model: keras.Model,
        rules: Mapping[str, Penalty],
        *,
        mode: str = "collect",
        train_only: bool = True,
        select: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": model.name, **kwargs})
        _check(model, rules)
        self._options = {"mode": mode, "train_only": train_only, "select": select}
        self._rules = tuple(rules.items())
        _wrap(slots(model), rules, self._options)
        self.model = model

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.model(inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "rules": [[glob, regcore.to_config(spec)] for glob, spec in self._rules],
            "weights": [keras.saving.serialize_keras_object(penalty) for penalty in self.weight_penalties],
            **self._options,
        }

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> "RegularizedSubclassed":
        config = dict(config)
        plain = {key: value for key, value in config.pop("model").items() if key != "build_config"}
        model = keras.saving.deserialize_keras_object(plain, custom_objects=custom_objects)
        rules = {glob: regcore.from_config(spec) for glob, spec in config.pop("rules")}
        weights = tuple(map(keras.saving.deserialize_keras_object, config.pop("weights")))
        made = cls(model, rules, **config)
        made.weight_penalties = weights
        return made


def _wrap(found: Mapping[str, Slot], rules: Mapping[str, Penalty], options: dict[str, Any]) -> None:
    inner = {path: graph_paths(slot.layer, path) for path, slot in found.items() if is_graph(slot.layer)}
    penalties = choose(rules, [*found, *(path for paths in inner.values() for path in paths)])
    for path, paths in inner.items():
        if any(site in penalties for site in paths):
            own = {site: penalties[site] for site in paths if site in penalties}
            put(found[path], Rewriting(own, options).model(found[path].layer, path))
    for path, slot in found.items():
        if path in penalties:
            put(slot, Regularized(slot.layer, penalties[path], **options))


def _check(model: keras.Model, rules: Mapping[str, Penalty]) -> None:
    for name in ("train_step", "test_step", "compute_loss"):
        if getattr(type(model), name) not in (getattr(keras.Model, name), getattr(RegularizedModel, name)):
            raise ValueError(
                f"{type(model).__name__} has a {name} of its own, which the regularized model would not call: "
                "derive it from regcore_keras.RegularizedModel, and wrap its layers by regcore_keras.Regularized"
            )
    if rules and model.built:
        raise ValueError(
            f"{model.name} is a {type(model).__name__} and built, so its layers cannot be replaced: "
            "regularize it before it is first called, or wrap its layers by regcore_keras.Regularized where it is made"
        )
