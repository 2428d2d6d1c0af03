"""Over which replicas the statistics of a batch are taken."""

from typing import Any

Array = Any


class Alone:
    """Statistics of a single replica: the sum over replicas is its own.

    A data-parallel trainer passes its own object with the same members. The value is then that of the whole batch on
    every replica, and gradients are scaled by `size`, so that averaging them over replicas gives the exact one. An
    object that is passed to `jax.jit` code or to a compiled model must be hashable.
    """

    size = 1

    @staticmethod
    def sum(array: Array) -> Array:
        return array

    @staticmethod
    def max(array: Array) -> Array:
        return array
