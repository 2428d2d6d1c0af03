"""PyTorch by hand, as in `torch_by_hand`: what is made of products of matrices."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

PIECE = 2**17  # numbers that stay in the cache


def squared(x: Tensor) -> Tensor:
    """The sum of squares."""
    return torch.stack([torch.dot(some, some) for some in x.view(-1).split(PIECE)]).sum()


def covariance(x: Tensor) -> Tensor:
    return _Covariance.apply(x)


class _Covariance(Function):
    """By the products of samples."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, d = x.shape
        centred = x - x.mean(dim=0)
        products, lengths = centred @ centred.T, (centred * centred).sum(dim=0)
        ctx.save_for_backward(centred, products, lengths)
        return (torch.sum(products * products) - torch.sum(lengths * lengths)) / (d * (n - 1) ** 2)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        centred, products, lengths = ctx.saved_tensors
        n, d = centred.shape
        factor = 4.0 * upstream / (d * (n - 1) ** 2)
        return (centred * (lengths * -factor)).addmm_(products * factor, centred)


def mean_square(x: Tensor) -> Tensor:
    return _MeanSquare.apply(x)


class _MeanSquare(Function):
    """By the products of columns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        m = len(x)
        per_length = torch.linalg.vector_norm(x, dim=1, keepdim=True).reciprocal_()
        unit = x * per_length
        products = unit.T @ unit
        ctx.save_for_backward(unit, per_length, products)
        return (torch.sum(products * products) - m) / (m * (m - 1))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        unit, per_length, products = ctx.saved_tensors
        m = len(unit)
        slope = unit @ (products * (4.0 * upstream / (m * (m - 1))))
        return slope.addcmul_(unit, torch.linalg.vecdot(slope, unit)[:, None], value=-1.0).mul_(per_length)


def self_model(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return _SelfModel.apply(x, W, b)


class _SelfModel(Function):
    """The target is detached."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        residual = torch.addmm(b, x, W.T).sub_(x)
        ctx.save_for_backward(x, W, residual)
        return squared(residual) / residual.numel()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        x, W, residual = ctx.saved_tensors
        factor = 2.0 * upstream / residual.numel()
        return residual @ (W * factor), (residual.T @ x).mul_(factor), residual.sum(0) * factor
