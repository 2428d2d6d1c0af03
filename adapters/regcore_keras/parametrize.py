"""The wrapper of a layer whose weights are functions of the raw variables that train."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras.src.backend.common.stateless_scope import get_stateless_scope  # Keras exports it under no public name

from regcore.parametrizations import Parametrization, choose, from_config, to_config

from .layer import Regularize
from .losses import Tensor


@keras.saving.register_keras_serializable(package="regcore")
class Parametrized(keras.layers.Wrapper):
    """`layer` with each weight A that `rules` name computed as A = f(W) in every call; the raw W trains.

    Rules are `{glob: parametrization}` over the dotted paths of trainable weights within the layer, such as "kernel"
    or "lstm_cell.kernel", where `*` is one component and `**` any number. W starts where f(W) is the weight that the
    layer's initializer, or its training so far, gave; from then on the layer's own variable neither trains nor counts.
    A regularizer of the weight stays one of A. `effective()` gives the values of A, and `unwrap()` the layer with them.
    For layers called on one input.

        layer = Parametrized(keras.layers.Dense(4, kernel_initializer=initializer), {"kernel": Exp()})

    Raises TypeError for a rule that is no parametrization; ValueError for a layer that holds Regularize layers, and
    when it is built for a glob that matches no weight, for two rules that match one, for a weight that has a
    constraint, and for an initial weight outside the domain.
    """

    def __init__(self, layer: keras.layers.Layer, rules: Mapping[str, Parametrization], **kwargs: Any) -> None:
        super().__init__(layer, autocast=False, dtype=layer.dtype_policy.variable_dtype, **kwargs)
        if any(isinstance(part, Regularize) for part in layer._flatten_layers()):
            raise ValueError(
                f"{layer.name} holds a Regularize layer, whose losses would be lost: wrap the parts beside it"
            )
        choose(rules, rules)  # to refuse what is no rule before anything is built
        self.rules, self.supports_masking = dict(rules), layer.supports_masking
        self._taken: dict[str, _Taken] = {}
        self._loading = False
        self._refused = ""  # why the weights are not fit for use until others are loaded

    def build(self, input_shape: Any = None) -> None:
        with keras.StatelessScope():  # at its end initial weights have values, also while TensorFlow traces a function
            super().build(input_shape)
            variables = {_path(self.layer, variable): variable for variable in self.layer.trainable_variables}
            for path, spec in choose(self.rules, variables).items():
                self._take(path, spec, variables[path])
        if self._refused and not self._loading:
            raise ValueError(self._refused)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:
        if self._refused:
            raise ValueError(self._refused)
        computed = {id(taken.variable): taken.weight() for taken in self._taken.values()}
        values = [(variable, computed.get(id(variable), variable.value)) for variable in self.layer.variables]
        masked = {} if mask is None else {"mask": mask}
        with keras.StatelessScope(values, collect_losses=True) as scope:
            outputs = self.layer(inputs, training=training, **masked)
        for variable in self.layer.non_trainable_variables:
            if id(variable) not in computed:  # moving averages, and states of random generators
                variable.assign(scope.get_current_value(variable))
        self.add_loss(scope.losses)
        return outputs

    def effective(self) -> dict[str, Tensor]:
        """The weights A that the layer computes with, by their paths in it."""
        return {path: taken.weight() for path, taken in self._taken.items()}

    def unwrap(self) -> keras.layers.Layer:
        """The layer with the weights that it has now, which train themselves from here on. Make a new optimizer."""
        self._write()
        for taken in self._taken.values():
            taken.variable.trainable = True
        return self.layer

    @property
    def trainable(self) -> bool:
        return super().trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        for taken in self._taken.values():
            taken.variable.trainable = False  # Keras sets those of the layer as well

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return self.layer.compute_output_spec(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]  # that of the layer
        return {**config, "rules": {glob: to_config(spec) for glob, spec in self.rules.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "Parametrized":
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects=custom_objects)
        rules = {glob: from_config(spec) for glob, spec in config["rules"].items()}
        return cls(**{**config, "layer": layer, "rules": rules})

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """For a file whose weights come next: what the initializer gives may be outside the domain until then."""
        self._loading = True
        super().build_from_config(config)
        self._loading = False

    def save_own_variables(self, store: Any) -> None:
        self._write()  # the layer, whose turn is next, saves what it computes with
        super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self._refused = ""

    def _write(self) -> None:
        for taken in self._taken.values():
            taken.variable.assign(taken.weight())

    def _take(self, path: str, spec: Parametrization, variable: keras.Variable) -> None:
        if variable.constraint is not None:
            raise ValueError(
                f"{self.name}: {path} has the constraint {variable.constraint}, which is for a weight that trains "
                "itself: leave it out, the parametrization decides which values there are"
            )
        taken = self._taken[path] = _Taken(spec, variable)
        for part in spec.parts or ("raw",):
            taken.raw[part] = self.add_weight(
                name="_".join([*path.split("."), part]),
                shape=variable.shape,
                dtype=variable.dtype,
                initializer=self._initializer(path, taken, part),
                regularizer=taken.regularizer if variable.regularizer is not None and not taken.raw else None,
                trainable=part not in spec.fixed,
                autocast=False,
            )
        variable.trainable = False

    def _initializer(self, path: str, taken: "_Taken", part: str) -> Callable[[Any, Any], Tensor]:
        def initial(shape: Any, dtype: Any) -> Tensor:
            weight = keras.ops.stop_gradient(keras.ops.convert_to_tensor(taken.variable.value))
            if get_stateless_scope() is None:  # in one Keras only asks for the shape, and comes back for the value
                self._check(path, taken.spec, weight)
            raw = taken.spec.right_inverse(weight, checked=False)
            return raw[part] if taken.spec.parts else raw

        return initial

    def _check(self, path: str, spec: Parametrization, weight: Tensor) -> None:
        """Notes what is wrong; an error in an initializer would leave Keras with variables half initialized."""
        try:
            spec.check(weight)
        except ValueError as error:
            self._refused = f"{self.name}: the weight {path}: {error}; or give the layer another initializer"


@dataclasses.dataclass(frozen=True)
class _Taken:
    """A weight of the wrapped layer, and the raw variables that train instead. Keras tracks nothing in here."""

    spec: Parametrization
    variable: keras.Variable
    raw: dict[str, keras.Variable] = dataclasses.field(default_factory=dict)

    def weight(self, **given: Any) -> Tensor:
        """A, where some of the raw values may be given."""
        raw = {name: given.get(name, part.value) for name, part in self.raw.items()}
        return self.spec(raw if self.spec.parts else raw["raw"])

    def regularizer(self, first: Any) -> Tensor:
        """The regularizer of A, for Keras to call with the first of the raw values."""
        value = first.value if isinstance(first, keras.Variable) else first
        return self.variable.regularizer(self.weight(**{next(iter(self.raw)): value}))


def _path(layer: keras.layers.Layer, variable: keras.Variable) -> str:
    return variable.path.split(f"{layer.name}/", 1)[-1].replace("/", ".")
