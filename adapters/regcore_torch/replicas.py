"""Statistics of a batch that is spread over the processes of torch.distributed."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, distributed


@dataclasses.dataclass(frozen=True)
class AllReduce:
    """Sums over the processes of `group`, the default one if None: pass it as `across=`.

    The value of a penalty of batch statistics is then that of the whole batch on every process, also where processes
    have batches of different size, and gradients are such that their average over processes, which
    DistributedDataParallel takes, is exact. Additive penalties keep to their own shard and need none of it. The forward
    pass and the backward communicate, so every process must run both.

        reg = regularize(model, {"encoder": regcore.BatchEntropy()}, across=AllReduce())
    """

    group: Any = None

    @property
    def size(self) -> int:
        return distributed.get_world_size(self.group)

    def sum(self, array: Any) -> Tensor:
        return self._reduced(array, distributed.ReduceOp.SUM)

    def max(self, array: Any) -> Tensor:
        return self._reduced(array, distributed.ReduceOp.MAX)

    def _reduced(self, array: Any, operation: Any) -> Tensor:
        if isinstance(array, (int, float)):  # a static count
            on_gpu = distributed.get_backend(self.group) == "nccl"
            array = torch.tensor(array, dtype=torch.float64, device="cuda" if on_gpu else "cpu")
        else:
            array = array.clone()
        distributed.all_reduce(array, operation, self.group)
        return array
