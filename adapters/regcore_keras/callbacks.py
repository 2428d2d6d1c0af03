"""What `fit` does between steps: coefficients by schedule, and the value of each term in its logs."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from regcore.coefficients import Schedules

from .report import report
from .sites import penalty_sites


class ScheduleCallback(keras.callbacks.Callback):
    """Sets coefficients in `fit`: `{"<site>/<term>": schedule}`, with a function from the step to a number for each.

    A schedule replaces the weight of its term. The step is `optimizer.iterations`, read before every batch, so training
    that resumes, by BackupAndRestore or from a file of the model, goes on where it was, and with gradient accumulation
    a step is one of the optimizer. With `steps_per_execution` coefficients change once per execution.

        regcore_keras.ScheduleCallback({"encoder/L1": regcore.schedules.Linear(start=0.0, stop=1.0, steps=1000)})

    Raises what `regcore.Schedules` raises; and where training begins, ValueError for a term that is not in the model.
    """

    def __init__(self, schedules: Mapping[str, Callable[[int], float]]) -> None:
        super().__init__()
        Schedules(schedules, lambda key, coefficient: None)  # to refuse what is no schedule before anything trains
        self._given = dict(schedules)

    def on_train_begin(self, logs: Any = None) -> None:
        self._layers = _terms(self.model)
        if unknown := sorted(self._given.keys() - self._layers.keys()):
            raise ValueError(f"{self.model.name} has no terms {unknown} to schedule; it has {sorted(self._layers)}")
        self._schedules = Schedules(self._given, self._set)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        step = keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self._schedules.load_state_dict({"step": int(step)})

    def _set(self, key: str, coefficient: float) -> None:
        self._layers[key].set_coefficient(key.rpartition("/")[2], coefficient)


class LogTerms(keras.callbacks.Callback):
    """Puts the unweighted value of each term into the logs of `fit`, as `<site>/<term>`, on every backend.

    After a batch it is that of the batch, and after an epoch the mean over its batches, as for the loss. Reading it
    waits for the step, so it costs what the progress bar costs. Raises ValueError where training begins for a model
    without penalties.

        history = model.fit(x, y, callbacks=[regcore_keras.LogTerms()]).history["encoder/L1"]
    """

    def on_train_begin(self, logs: Any = None) -> None:
        if not _terms(self.model):
            raise ValueError(f"{self.model.name} has no Regularize layers, so nothing to log: leave LogTerms out")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._sums: dict[str, float] = {}
        self._batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        values = {key: entry["value"] for key, entry in report(self.model).items()}
        self._sums = {key: self._sums.get(key, 0.0) + value for key, value in values.items()}
        self._batches += 1
        if logs is not None:
            logs.update(values)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None and self._batches:
            logs.update({key: total / self._batches for key, total in self._sums.items()})


def _terms(model: keras.Model) -> dict[str, Any]:
    return {f"{path}/{term}": layer for path, layer in penalty_sites(model).items() for term in layer.report()}
