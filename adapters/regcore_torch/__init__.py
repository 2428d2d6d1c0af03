"""regcore for PyTorch: a layer to put into a model, and forward hooks for models written without it."""

from .hooks import Regularizer, Report, regularize
from .layer import Regularize
from .parametrize import Parametrized, parametrize, unparametrize

__all__ = ["Parametrized", "Regularize", "Regularizer", "Report", "parametrize", "regularize", "unparametrize"]
