"""The `Trainer` of Hugging Face transformers, with the penalties of a regularizer in its loss, logs and checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from transformers import Trainer

from regcore.coefficients import Schedules

from .regularizer import Regularizer
from .trained import refuse_foreign, refuse_untrained


class RegularizedTrainer(Trainer):
    """A `transformers.Trainer` that adds the penalties of `regularizer` to the loss of each training step.

    `schedules`, {glob of <site>/<term>: function from the step to a coefficient}, count optimizer steps, and are set
    from the trainer's own `global_step`, so that a resumed run goes on where it was. The logs of training have the
    value of each term as `penalty/<site>/<term>`, unweighted, of the last micro-batch. Learned parameters become part
    of the model, under the name `regcore`: the optimizer trains them, without weight decay, and checkpoints keep them.

    Penalties are means over a micro-batch, and gradient accumulation takes the mean of these, also where the trainer
    sums the task loss instead: added penalties that are means over the batch come to the same for every
    `gradient_accumulation_steps`. A statistic of the batch, such as BatchEntropy, stays that of the micro-batch.

        model = AutoModelForSequenceClassification.from_config(config)
        reg = regcore_torch.regularize(model, {"bert.encoder.layer.*": 0.1 * regcore.L2()})
        trainer = RegularizedTrainer(model, args, train_dataset=data, regularizer=reg)

    For another trainer put this class before it: `class Mine(RegularizedTrainer, TheirTrainer): pass`.

    Raises TypeError if `regularizer` is no `Regularizer`, ValueError if it is of another model, and for `model_init`,
    and what the schedules raise; when training starts, RuntimeError if an optimizer of yours lacks a learned parameter.
    """

    regularizer: Regularizer
    _schedules: Schedules

    def __init__(
        self,
        *args: Any,
        regularizer: Regularizer,
        schedules: Mapping[str, Callable[[int], float]] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(regularizer, Regularizer):
            raise TypeError(
                f"regularizer is a {type(regularizer).__name__}; expected what regcore_torch.regularize(model, rules) "
                "returned"
            )
        super().__init__(*args, **kwargs)
        if self.model_init is not None:
            raise ValueError(
                "got model_init, which makes another model for each run, and a regularizer of one model; pass "
                "model=..., the model that was regularized, and for a search make a trainer for each trial"
            )
        joined: Any = self.model  # which is there after super().__init__
        refuse_foreign(regularizer, joined)
        self.regularizer = regularizer
        self._schedules = Schedules(schedules or {}, regularizer.set_coefficient)
        self._join(joined)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        if model.training:
            self._schedules.load_state_dict({"step": self.state.global_step})  # before what is attached reads it
        task, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        parts = self._micro_batches(num_items_in_batch) if model.training else 1
        loss = self.regularizer.combine(task, micro_batches=parts)
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:  # those of training; evaluation has eval_loss
            terms = self.regularizer.terms().items()
            logs = {**logs, **{f"penalty/{name}": value.item() for name, value in terms}}
        super().log(logs, *args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        optimizer = super().create_optimizer(*args, **kwargs)
        refuse_untrained(self.regularizer, [optimizer])
        return optimizer

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        learned = {id(parameter) for parameter in self.regularizer.parameters()}
        undecayed = {name for name, parameter in model.named_parameters() if id(parameter) in learned}
        return [name for name in super().get_decay_parameter_names(model) if name not in undecayed]

    def _micro_batches(self, num_items_in_batch: Tensor | int | None) -> int:
        """By how much the trainer will not divide the loss: it takes one that is scaled already for a part of a sum."""
        scaled = self.loss_is_scaled_for_ga  # if None, the trainer tells by the rule below
        if scaled is None:
            by_model = self.model_accepts_loss_kwargs and num_items_in_batch is not None
            scaled = by_model or self.compute_loss_func is not None
        return self.current_gradient_accumulation_steps if scaled else 1

    def _join(self, model: nn.Module) -> None:
        if any(module is self.regularizer for module in model.modules()):
            return
        if any(True for _ in self.regularizer.parameters()):
            self.regularizer.register_on(model)
        if self.place_model_on_device:
            self.regularizer.to(self.args.device)
