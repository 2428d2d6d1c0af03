"""What a library's own differentiation says of a function."""

from collections.abc import Callable
from typing import Any


def derivative(library: Any, function: Callable[..., Any], *inputs: Any) -> list[Any] | None:
    """The derivatives by all inputs of the sum of the results; None for a library that does not differentiate."""
    if library.name == "torch":
        leaves = [library.asarray(array).requires_grad_() for array in inputs]
        function(*leaves).sum().backward()
        return [leaf.grad for leaf in leaves]
    if library.name == "jax":
        import jax

        return jax.grad(lambda *a: function(*a).sum(), argnums=tuple(range(len(inputs))))(*map(library.asarray, inputs))
    if library.name == "tensorflow":
        import tensorflow as tf

        leaves = [library.asarray(array) for array in inputs]
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            result = function(*leaves)
        return tape.gradient(result, leaves)
    return None
