"""What must hold of a regularizer before a trainer starts."""

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer

from .regularizer import Regularizer


def refuse_foreign(regularizer: Regularizer, model: nn.Module) -> None:
    """Raises ValueError if the regularizer is of a model that is no part of the one that trains."""
    root = regularizer.root
    if not any(module is root for module in model.modules()):
        raise ValueError(
            f"the regularizer is of another {type(root).__name__} than the {type(model).__name__} that trains, so its "
            "penalties would be lost; call regcore_torch.regularize on the model that the trainer gets, or a part of it"
        )


def refuse_untrained(regularizer: Regularizer, optimizers: Iterable[Optimizer]) -> None:
    """Raises RuntimeError if a learned parameter is in none of the optimizers, and would stay as it began."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    lost = [name for name, p in regularizer.named_parameters() if p.requires_grad and id(p) not in held]
    if lost:
        raise RuntimeError(
            f"no optimizer has the learned parameters {lost}, so they would stay as they began; give them to it, as in "
            "Adam([*model.parameters(), *reg.parameters()]), or freeze them by requires_grad_(False)"
        )
