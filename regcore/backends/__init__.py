"""How one array library is entered. Each module beside this one is named after its library and has eight functions:

    namespace(x)                            the array API namespace for `x`
    shape(x)                                sizes of `x`, None where not known yet
    kind(x)                                 dtype and sizes, equal for arrays that need no second check, or None
    asarray(constant, x)                    a float or NumPy array as an array of the library, on the device of `x`
    value(spec, x, params, mask, across)            the penalty, differentiable where the library differentiates
    grad(spec, x, params, mask, across, upstream)   `upstream` times its closed-form gradient
    value_and_grad(the same)                        both
    attach(spec, x, params, mask, across, factors)  `x`, to whose gradient `factors` times the penalty's is added

A library without a module enters through `array_api`. A module is imported when its first array is seen.
"""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

_seen: dict[type, ModuleType] = {}


def of(x: Any) -> ModuleType:
    """The backend for an array."""
    backend = _seen.get(type(x))
    if backend is None:
        backend = _first_sight(type(x))
        _seen[type(x)] = backend
    return backend


def _first_sight(kind: type) -> ModuleType:
    libraries = [parent.__module__.split(".")[0] for parent in kind.__mro__]
    if "torch" in libraries:
        from . import torch  # spelled out, because torch.compile traces this line and cannot trace importlib

        return torch
    if "keras" in libraries:  # a variable, which derives from classes of TensorFlow and is no tensor
        libraries = []
    for library in libraries:
        name = f"{__name__}.{library.removesuffix('lib')}"  # jaxlib's arrays are JAX's
        if library != "builtins" and importlib.util.find_spec(name):
            return importlib.import_module(name)
    return importlib.import_module(f"{__name__}.array_api")
