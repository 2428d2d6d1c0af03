"""The two networks in NumPy, as far as the activations that are penalized: what the frameworks are compared to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import regcore

from .data import Data
from .initial import NETS, Affine, Net, Recurrent, batches
from .proof import prove

SHOWN = ("layer 1", "layer 5", "layer 30", "states")  # of the deep net's 30 layers three; the last has lost the batch
SAMPLES = 64  # of the first batch, because the proof takes its time


def column(data: Data) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """NumPy's column of the results, and the activations, by `<net>/<site>`, that the proof is about."""
    nets, shown = {}, {}
    for kind in NETS:
        net = kind.draw(*data.train_images.shape[1:])
        first = data.shaped(net.input_shape).train_images[next(batches(len(data.train_images), 1))]
        sites = activations(net, first)
        terms = [(term.weight, term.spec(x, term.init())) for x in sites.values() for term in net.spec.terms()]
        penalty = sum(weight * float(value) for weight, value in terms)
        chosen = {site: sites[site][:SAMPLES] for site in SHOWN if site in sites}
        nets[net.title] = {"penalty": penalty, "proof": prove(value_and_grad, net.spec, chosen)}
        shown |= {f"{net.title}/{site}": array for site, array in chosen.items()}
    return {"label": f"NumPy {np.__version__}", "nets": nets}, shown


def activations(net: Net, x: np.ndarray) -> dict[str, np.ndarray]:
    """The penalized activations by site."""
    if isinstance(net, Recurrent):
        return {"states": _states(net, x)}
    outputs = {}
    for number, layer in enumerate(net.hidden, start=1):
        x = np.maximum(_affine(layer, x), 0)
        outputs[f"layer {number}"] = x
    return outputs


def value_and_grad(spec: regcore.Penalty, x: np.ndarray, params: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
    """A penalty of bare arrays and its derivative; NumPy does not differentiate, regcore does."""
    value, (dx, dparams) = regcore.value_and_grad(spec, x, params)
    return value, dx, dparams


def _states(net: Recurrent, x: np.ndarray) -> np.ndarray:
    """(batch, time, units), after a state of zeros."""
    states = [np.zeros((len(x), net.units), np.float32)]
    for row in np.moveaxis(x, 1, 0):
        states.append(np.tanh(_affine(net.input, row) + states[-1] @ net.recurrent))
    return np.stack(states[1:], axis=1)


def _affine(layer: Affine, x: np.ndarray) -> np.ndarray:
    return x @ layer.kernel + layer.bias
