"""A Lightning callback for the regularizer of a module: schedules, logs, and a check of the optimizer."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning
from torch import Tensor

from regcore.coefficients import Schedules

from .regularizer import Regularizer
from .trained import refuse_foreign, refuse_untrained


class RegularizerCallback(lightning.Callback):
    """Sets the coefficients of the module's `Regularizer` by `schedules`, and logs the value of each of its terms.

    The module holds the regularizer and adds it to the loss, so that Lightning moves, trains, saves and restores the
    learned parameters with the module, and divides the whole loss under `accumulate_grad_batches`:

        class Classifier(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = make_net()
                self.reg = regcore_torch.regularize(self.net, {"encoder.*": 0.1 * regcore.L2()})

            def training_step(self, batch, index):
                x, y = batch
                return self.reg.combine(cross_entropy(self.net(x), y))

        trainer = lightning.Trainer(callbacks=[RegularizerCallback({"**/L2": Linear(start=0, stop=0.1, steps=1000)})])

    `schedules`, {glob of <site>/<term>: function from the step to a coefficient}, count optimizer steps, and are set
    from the trainer's own `global_step`, so that a resumed run goes on where it was and the callback has no state to
    save. After each batch it logs `penalty/<site>/<term>`, unweighted, of that batch.

    Raises ValueError if the module has no regularizer, several, or that of another model, and what the schedules raise;
    RuntimeError if a learned parameter is in no optimizer. All of it when training starts.
    """

    def __init__(self, schedules: Mapping[str, Callable[[int], float]] | None = None) -> None:
        self._given = dict(schedules or {})

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._regularizer = _only_regularizer(pl_module)
        refuse_foreign(self._regularizer, pl_module)
        refuse_untrained(self._regularizer, trainer.optimizers)
        self._schedules = Schedules(self._given, self._regularizer.set_coefficient)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._schedules.load_state_dict({"step": trainer.global_step})

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        pl_module.log_dict({f"penalty/{name}": value for name, value in self._regularizer.terms().items()})


def _only_regularizer(module: lightning.LightningModule) -> Regularizer:
    found = {path: part for path, part in module.named_modules() if isinstance(part, Regularizer)}
    if len(found) != 1:
        raise ValueError(
            f"{type(module).__name__} has {len(found)} regularizers, {list(found)}; expected one: in its __init__ "
            "write self.reg = regcore_torch.regularize(self.net, rules), with all rules"
        )
    return next(iter(found.values()))
