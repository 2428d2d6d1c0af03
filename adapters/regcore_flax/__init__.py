"""regcore for Flax Linen: a module that sows penalties into the collection `penalties`, and their total."""

from .linen import Recorded, Regularize, combine, report
from .parametrize import parametrize, parametrized, unparametrize

__all__ = ["Recorded", "Regularize", "combine", "parametrize", "parametrized", "report", "unparametrize"]
