"""Regularizers written once, exact everywhere."""

from . import parametrizations as parametrizations
from . import schedules as schedules
from .coefficients import Schedules as Schedules
from .complexity import LearningCoefficient as LearningCoefficient
from .complexity import default_nbeta as default_nbeta
from .complexity import local_learning_coefficient as local_learning_coefficient
from .complexity import mean_square as mean_square
from .complexity import weight_sd as weight_sd
from .composition import Named as Named
from .composition import Scaled as Scaled
from .composition import Sum as Sum
from .config import from_config as from_config
from .config import to_config as to_config
from .functional import attach as attach
from .functional import combine as combine
from .functional import value as value
from .functional import value_and_grad as value_and_grad
from .options import Added as Added
from .options import Coupled as Coupled
from .options import Every as Every
from .options import Exact as Exact
from .options import Plain as Plain
from .options import added as added
from .options import coupled as coupled
from .options import every as every
from .options import exact as exact
from .options import plain as plain
from .penalties.anytime import *
from .penalties.change import *
from .penalties.coding import *
from .penalties.cosines import *
from .penalties.covariance import *
from .penalties.dictionary import *
from .penalties.distribution import *
from .penalties.entropy import *
from .penalties.geometry import *
from .penalties.magnitude import *
from .penalties.orthonormality import *
from .penalties.rates import *
from .penalties.routing import *
from .penalties.selfmodel import *
from .penalties.sparsity import *
from .penalties.spectral import *
from .penalties.supervised import *
from .penalties.surrogates import *
from .penalties.temporal import *
from .penalties.views import *
from .penalty import Example as Example
from .penalty import Penalty as Penalty
from .penalty import Term as Term
from .presets import get as get
from .regressor import DecisionList as DecisionList
from .regressor import QuasiArithmeticMean as QuasiArithmeticMean
from .replicas import Alone as Alone
from .sites import match as match
from .sites import select as select

__version__ = "0.1.0"
