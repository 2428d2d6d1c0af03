"""regcore in Keras 3, on its TensorFlow, JAX and PyTorch backends."""

from .callbacks import LogTerms as LogTerms
from .callbacks import ScheduleCallback as ScheduleCallback
from .layer import Regularize as Regularize
from .model import RegularizedFunctional as RegularizedFunctional
from .model import RegularizedModel as RegularizedModel
from .parametrize import Parametrized as Parametrized
from .regularizers import ActivityRegularizer as ActivityRegularizer
from .regularizers import WeightRegularizer as WeightRegularizer
from .report import report as report
from .rules import regularize as regularize
from .running import loss_scale as loss_scale
from .subclassed import RegularizedSubclassed as RegularizedSubclassed
from .verify import verify as verify
from .wrap import Regularized as Regularized
