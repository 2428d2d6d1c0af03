"""What happened at every site of a model."""

import keras

from .sites import penalty_sites


def report(model: keras.Model) -> dict[str, dict[str, float]]:
    """For every term of every `Regularize` layer, by `<site>/<term>`, what there is to know.

    `calls` is how many calls counted, `value` the latest, unweighted, NaN before the first training step, and
    `coefficient` its weight. A site names the layers from the model down, joined by dots; after `regularize` it is that
    of the layer that is penalized, and "weight:" with its path for a weight. A layer with several parents is reported
    under the first. Raises ValueError where two layers share a path.

        {"encoder.dense/L2": {"calls": 100, "value": 0.25, "coefficient": 0.01}}
    """
    return {
        f"{path}/{term}": entry
        for path, layer in penalty_sites(model).items()
        for term, entry in layer.report().items()
    }
