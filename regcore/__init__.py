"""Regularizers written once, exact everywhere."""

from .config import from_config, to_config
from .functional import combine, value, value_and_grad
from .penalties.entropy import *
from .penalties.geometry import *
from .penalties.magnitude import *
from .penalties.temporal import *
from .penalty import Added, Coupled, Exact, Example, Named, Penalty, Scaled, Sum, Term, added, coupled, exact
from .sites import match, select

__version__ = "0.1.0"
