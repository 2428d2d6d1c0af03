"""Regularizers written once, exact everywhere."""

from .composition import Added as Added
from .composition import Coupled as Coupled
from .composition import Exact as Exact
from .composition import Named as Named
from .composition import Scaled as Scaled
from .composition import Sum as Sum
from .composition import added as added
from .composition import coupled as coupled
from .composition import exact as exact
from .config import from_config as from_config
from .config import to_config as to_config
from .functional import combine as combine
from .functional import value as value
from .functional import value_and_grad as value_and_grad
from .penalties.entropy import *
from .penalties.geometry import *
from .penalties.magnitude import *
from .penalties.temporal import *
from .penalty import Example as Example
from .penalty import Penalty as Penalty
from .penalty import Term as Term
from .sites import match as match
from .sites import select as select

__version__ = "0.1.0"
