"""regcore for JAX and Flax: penalties in Linen and NNX models, their total, and what became of them."""

from .apply import regularized_apply, regularized_init
from .gradients import gradient_report
from .linen import Regularize
from .parametrize import parametrize, parametrized, unparametrize
from .recorded import Recorded, Report, combine, report, values
from .replicas import Replicas

__all__ = [
    "Recorded",
    "Regularize",
    "Replicas",
    "Report",
    "combine",
    "gradient_report",
    "parametrize",
    "parametrized",
    "regularized_apply",
    "regularized_init",
    "report",
    "unparametrize",
    "values",
]
