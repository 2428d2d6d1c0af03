"""regcore for PyTorch: a layer to put into a model, and forward hooks for models written without it."""

from regcore.report import Report

from .layer import Regularize
from .many import values
from .parametrize import Parametrized, parametrize, unparametrize
from .regularizer import Regularizer
from .replicas import AllReduce
from .rules import regularize

__all__ = [
    "AllReduce",
    "Parametrized",
    "Regularize",
    "Regularizer",
    "Report",
    "parametrize",
    "regularize",
    "unparametrize",
    "values",
]
