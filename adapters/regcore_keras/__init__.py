"""regcore in Keras 3, on its TensorFlow, JAX and PyTorch backends."""

from .layer import Regularize as Regularize
from .model import RegularizedFunctional as RegularizedFunctional
from .model import RegularizedModel as RegularizedModel
from .model import report as report
from .parametrize import Parametrized as Parametrized
from .regularizers import ActivityRegularizer as ActivityRegularizer
from .regularizers import WeightRegularizer as WeightRegularizer
