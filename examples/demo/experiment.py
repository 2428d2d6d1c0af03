"""What one framework does, in a process of its own: the proof at step 0, then training with and without the penalty."""

import argparse
import importlib
import json
import statistics
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from .data import Data, load
from .frameworks import FRAMEWORKS
from .initial import NETS, Net, batches
from .proof import prove

POINTS = 30  # on each curve
LAST = 5  # of them, of which the accuracy at the end is the median: training a deep net is bumpy


class Training(Protocol):
    """A network in training, of which each framework has its own: `Training(net, regularized)`."""

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """One step of the optimizer on a batch."""

    def penalties(self) -> dict[str, float]:
        """In the last step, by `<site>/<term>`, unweighted; none if it is not regularized."""

    def logits(self, x: np.ndarray) -> np.ndarray:
        """In evaluation mode."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.demo.experiment", description=__doc__)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("folder", type=Path, help="where activations.npz is, and result.json goes")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    started = time.perf_counter()
    module = importlib.import_module(f".{options.framework}_run", __package__)
    activations = dict(np.load(options.folder / "activations.npz"))
    nets = experiment(module, load(options.data), activations, options.steps)
    result = {"label": FRAMEWORKS[options.framework].label, "seconds": time.perf_counter() - started, "nets": nets}
    (options.folder / "result.json").write_text(json.dumps(result))


def experiment(module: ModuleType, data: Data, activations: dict[str, np.ndarray], steps: int) -> dict[str, Any]:
    results = {}
    for kind in NETS:
        net = kind.draw(*data.train_images.shape[1:])
        sites = {path.split("/")[1]: array for path, array in activations.items() if path.startswith(f"{net.title}/")}
        found = {"proof": prove(module.value_and_grad, net.spec, sites)}
        for arm in ("without", "with"):
            training = module.Training(net, regularized=arm == "with")
            found[arm] = train(training, net, data.shaped(net.input_shape), steps, f"{net.title} {arm}")
        results[net.title] = {"penalty": found["with"]["curve"][0]["penalty"], **found}
    return results


def train(training: Training, net: Net, data: Data, steps: int, title: str) -> dict[str, Any]:
    """The curve over `steps` steps, the accuracy at its end, and the seconds, in which frameworks compile too."""
    started = time.perf_counter()
    steps = max(1, round(steps * net.share))
    every = max(1, steps // POINTS)
    curve = []
    with tqdm(total=steps, desc=f"  {title:21}", unit="step", mininterval=0.5) as bar:
        for number, batch in enumerate(batches(len(data.train_images), steps)):
            training.step(data.train_images[batch], data.train_labels[batch])
            if number % every == 0 or number == steps - 1:
                curve.append({"step": number, **measure(training, net, data)})
                bar.set_postfix(accuracy=f"{curve[-1]['accuracy']:.0%}", refresh=False)
            bar.update()
    accuracy = statistics.median(point["accuracy"] for point in curve[-LAST:])
    return {"accuracy": accuracy, "seconds": time.perf_counter() - started, "curve": curve}


def measure(training: Training, net: Net, data: Data) -> dict[str, float]:
    """The accuracy on the test set, and the weighted sum of all penalties in the last step."""
    right = training.logits(data.test_images).argmax(1) == data.test_labels
    weights = {term.name: term.weight for term in net.spec.terms()}
    penalty = sum(weights[name.split("/")[-1]] * value for name, value in training.penalties().items())
    return {"accuracy": float(right.mean()), "penalty": penalty}


if __name__ == "__main__":
    main()
