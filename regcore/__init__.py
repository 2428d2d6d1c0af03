"""Regularizers written once, exact everywhere."""

from .composition import Added, Coupled, Exact, Named, Scaled, Sum, added, coupled, exact
from .config import from_config, to_config
from .functional import combine, value, value_and_grad
from .penalties.entropy import *
from .penalties.geometry import *
from .penalties.magnitude import *
from .penalties.temporal import *
from .penalty import Example, Penalty, Term
from .sites import match, select

__version__ = "0.1.0"
