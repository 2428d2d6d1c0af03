"""What would lose a penalty without a word, found before or while a model trains."""

from collections.abc import Iterator

import keras

from regcore.sites import WEIGHT

from .layer import Regularize
from .regularizers import ActivityRegularizer
from .sites import walk


def silent_sites(model: keras.Model) -> tuple[str, ...]:
    """Paths of the layers that hold a penalty, and have none in the step that Keras holds losses of."""
    return tuple(dict.fromkeys(_silent(model)))


def refuse_what_is_lost(model: keras.Model) -> None:
    """ValueError for a penalty whose value cannot leave where it is; what attaches there is told not to try."""
    replicas = model.distribute_strategy.num_replicas_in_sync if keras.backend.backend() == "tensorflow" else 1
    for path, layer, above in walk(model):
        if isinstance(layer, Regularize):
            if replicas > 1 and not path.startswith(WEIGHT):
                _refuse_parts(path, layer, replicas)
            layer.closed = _closed(layer, above)
            if layer.closed and layer.mode == "collect":
                raise ValueError(
                    f"{path} is in {layer.closed}, which the value of a penalty cannot leave: "
                    'use mode="attach", or put the layer outside'
                )
        elif reason := _activity_lost(layer, above):
            raise ValueError(f"{path} has an ActivityRegularizer, but {reason}")


def _refuse_parts(path: str, layer: Regularize, replicas: int) -> None:
    if apart := [term.name for term in layer.spec.terms() if not term.penalty.additive]:
        raise ValueError(
            f"{path} has {apart} on {replicas} replicas, each of which would take the statistics of its own part of "
            "the batch: train it on one, or on JAX with keras.distribution"
        )


def _silent(model: keras.Model) -> Iterator[str]:
    weights = {id(penalty) for penalty in getattr(model, "weight_penalties", ())}
    for path, layer, _ in walk(model):
        if isinstance(layer, Regularize):
            if not layer._fired and id(layer) not in weights:
                yield path
        elif isinstance(layer.activity_regularizer, ActivityRegularizer) and not layer._get_own_losses():
            yield path


def _closed(layer: keras.Layer, above: tuple[keras.Layer, ...]) -> str:
    """What around the layer values cannot leave, if there is something."""
    for around in (*above, layer):
        if around is not layer and isinstance(around, keras.layers.RNN) and not around.unroll:
            return f"the cell of {around.name}, a loop"
        if _recomputed(around):
            return f"the RematScope of {around.name}"
    return ""


def _recomputed(layer: keras.Layer) -> bool:
    scope = layer._remat_mode
    if scope is None or scope.mode == "activations":
        return False
    return scope.mode != "list_of_layers" or layer.name in scope.layer_names


def _activity_lost(layer: keras.Layer, above: tuple[keras.Layer, ...]) -> str:
    if not isinstance(layer.activity_regularizer, ActivityRegularizer):
        return ""
    if isinstance(above[-1], keras.layers.TimeDistributed):
        return f"Keras counts none in {above[-1].name}, a TimeDistributed: put a Regularize layer behind that"
    if closed := _closed(layer, above):
        return f'its value cannot leave {closed}: use a Regularize layer with mode="attach", or one outside'
    if not isinstance(layer, keras.layers.RNN) or not layer.return_state:
        return ""
    if layer.return_sequences and layer.activity_regularizer.ndim is not None:
        return ""
    return (
        "it gives out its states too, and Keras would have them penalized: give it return_sequences=True and "
        "ActivityRegularizer(spec, ndim=3), or put a Regularize layer behind it"
    )
