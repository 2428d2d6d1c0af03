"""Parametrizations: a layer uses A = f(W), an optimizer trains W ("autoactivation").

    A = parametrization(W)                      the weight that the layer uses
    W = parametrization.right_inverse(A)        the raw weight to start from, with f(W) = A
    parametrization.pullback(W, dL/dA)          dL/dW
    parametrization.slope(A)                    dA/dW in terms of A, where f is elementwise

What f does to training: gradient descent steps by -lr dL/dW = -lr f'(W) dL/dA, which moves A by -lr f'(W)**2 dL/dA to
first order. The slope acts squared, as a step size of each weight's own. Where it is 0, nothing trains: `Square`,
`SignedSquare` and `Cube` stand still at 0, so they refuse to start there.

Whether it helps depends on the task. `Exp` turns a change of a feature's scale into a shift of W, so its training does
not depend on such scales, and is faster where they differ widely. Where they do not, plain weights can be faster.

`Sinh` is the choice for weights of both signs, `Exp` or `Softplus` for positive ones.

Sources: https://f-art-museum.com/2019/10/10/the-deep-universal-regressor-ii/ for the idea; for the step E. Amid,
M. Warmuth, "Reparameterizing mirror descent as gradient descent", NeurIPS 2020, arXiv:2002.10487.
"""

from .config import catalogue as catalogue
from .config import from_config as from_config
from .config import to_config as to_config
from .pairs import Difference as Difference
from .pairs import FixedSign as FixedSign
from .pairs import SoftSign as SoftSign
from .parametrization import Elementwise as Elementwise
from .parametrization import Parametrization as Parametrization
from .parametrization import Positive as Positive
from .positive import DoubleExp as DoubleExp
from .positive import DoubleExpm1 as DoubleExpm1
from .positive import Exp as Exp
from .positive import Softplus as Softplus
from .positive import Square as Square
from .rules import choose as choose
from .signed import Cube as Cube
from .signed import Identity as Identity
from .signed import Log as Log
from .signed import Reciprocal as Reciprocal
from .signed import SignedExpm1 as SignedExpm1
from .signed import SignedSquare as SignedSquare
from .signed import Sinh as Sinh
from .simplex import Softmax as Softmax
