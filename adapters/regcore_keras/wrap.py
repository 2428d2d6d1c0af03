"""A layer together with the penalty of what it gives out."""

from collections.abc import Mapping
from typing import Any

import keras

import regcore
from regcore.penalty import Penalty

from .layer import Regularize


@keras.saving.register_keras_serializable(package="regcore")
class Regularized(keras.layers.Wrapper):
    """`layer`, with a `Regularize` layer behind it: for models whose code calls the layer by itself.

    It takes what the layer takes. Of several outputs the first is penalized, such as the sequence of an LSTM that gives
    its states as well; `select` says which other: a number in a tuple or list, a key in a dict. `mode` and `train_only`
    are those of `Regularize`. The wrapped layer is `.layer`, and its weights `.layer.kernel` and so on.

        self.hidden = Regularized(keras.layers.Dense(64), 0.01 * regcore.L1())

    Raises what `Regularize` raises; and where it is called, ValueError for a dict of outputs and no `select`, and for a
    `select` that is not among them.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        spec: Penalty,
        *,
        mode: str = "collect",
        train_only: bool = True,
        select: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs = {"name": layer.name, **kwargs}
        super().__init__(layer, autocast=False, **kwargs)
        dtype = layer.dtype_policy.variable_dtype
        self.penalty = Regularize(spec, mode=mode, train_only=train_only, name="penalty", dtype=dtype)
        self.select, self.supports_masking = select, True

    def build(self, input_shape: Any = None) -> None:
        """The layer builds itself when it is called."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return tapped(self.layer(*args, **kwargs), self.select, self.penalty)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """None: the layer gave its outputs their masks."""
        return None

    def get_build_config(self) -> dict[str, Any] | None:
        return self.layer.get_build_config()

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        if not self.layer.built:
            self.layer.build_from_config(config)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]  # that of the layer
        own = {"mode": self.penalty.mode, "train_only": self.penalty.train_only, "select": self.select}
        return {**config, "spec": regcore.to_config(self.penalty.spec), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "Regularized":
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects=custom_objects)
        return cls(**{**config, "layer": layer, "spec": regcore.from_config(config["spec"])})


def tapped(outputs: Any, select: int | str | None, penalty: Regularize) -> Any:
    """`outputs`, one of which went through the penalty layer."""
    if isinstance(outputs, dict):
        _expect(select in outputs, outputs, select, list(outputs), penalty)
        return {**outputs, select: penalty(outputs[select])}
    if isinstance(outputs, (list, tuple)):
        index = 0 if select is None else select
        _expect(isinstance(index, int) and 0 <= index < len(outputs), outputs, select, range(len(outputs)), penalty)
        return type(outputs)(penalty(part) if i == index else part for i, part in enumerate(outputs))
    _expect(select is None, outputs, select, [None], penalty)
    return penalty(outputs)


def _expect(fits: bool, outputs: Any, select: Any, choices: Any, penalty: Regularize) -> None:
    if not fits:
        raise ValueError(
            f"{penalty.name} got select={select!r} for a {type(outputs).__name__} of outputs; "
            f"expected one of {list(choices)}: pass that as select="
        )
