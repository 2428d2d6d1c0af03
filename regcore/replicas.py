"""Over which replicas the statistics of a batch are taken."""

from typing import Any

Array = Any


class Alone:
    """Statistics of a single replica: the sum over replicas is its own.

    A data-parallel trainer passes its own object with the same members, which is hashable. The value of a penalty that
    is not additive is then that of the whole batch on every replica, and gradients are scaled by `size`, so that
    averaging them over replicas gives the exact one. An additive penalty, such as a mean of squares, keeps to its own
    shard: averaged over shards of equal size, value and gradient are those of the whole batch.
    """

    size = 1

    @staticmethod
    def sum(array: Array) -> Array:
        return array

    @staticmethod
    def max(array: Array) -> Array:
        return array
