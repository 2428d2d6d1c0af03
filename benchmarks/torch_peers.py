"""PyTorch as it is published or written by hand, transcribed from the formulas; each names its source."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def ar(x: Tensor) -> Tensor:
    """fastai, callback/rnn.py, RNNRegularizer: the mean square of the float32 activations."""
    return x.float().pow(2).mean()


def tar(x: Tensor) -> Tensor:
    """fastai, callback/rnn.py, RNNRegularizer: the same of the difference between the steps."""
    return (x[:, 1:] - x[:, :-1]).float().pow(2).mean()


def ar_tar(x: Tensor) -> Tensor:
    """fastai, callback/rnn.py, RNNRegularizer with alpha 2 and beta 1."""
    return 2.0 * ar(x) + 1.0 * tar(x)


def written(x: Tensor) -> Tensor:
    """The mean square as one writes it."""
    return (x * x).mean()


def written_tar(x: Tensor) -> Tensor:
    """The mean squared difference as one writes it."""
    return ((x[:, 1:] - x[:, :-1]) ** 2).mean()


def many(xs: Sequence[Tensor]) -> Tensor:
    """A Python sum over the activations of all layers, each as in fastai."""
    return torch.stack([ar(x) for x in xs]).sum()


def entropy(x: Tensor, alpha: Tensor) -> Tensor:
    """peerdavid/layerwise-batch-entropy: by the standard deviation, alpha_min 0.2 and beta 0.5."""
    deviation = torch.std(torch.flatten(x, start_dim=1), dim=0)
    layer = torch.mean(0.5 * torch.log(math.pi * math.e * deviation**2 + 1.0))
    least = torch.maximum(torch.tensor(0.2, device=x.device), alpha.abs())
    return 0.5 * (layer - least) ** 2


def covariance(x: Tensor) -> Tensor:
    """facebookresearch/vicreg, main_vicreg.py: all covariances, those of unlike units by a strided view."""
    n, d = x.shape
    centred = x - x.mean(dim=0)
    matrix = (centred.T @ centred) / (n - 1)
    unlike = matrix.flatten()[1:].view(d - 1, d + 1)[:, :-1]
    return unlike.pow(2).sum() / d


def unit_rows(x: Tensor) -> Tensor:
    return x * torch.rsqrt(torch.clamp(x.square().sum(dim=1, keepdim=True), min=1e-12))


def mean_abs(x: Tensor) -> Tensor:
    """keras.regularizers.OrthogonalRegularizer with mode "rows" and factor 1, in torch."""
    m = len(x)
    u = unit_rows(x)
    products = (u @ u.T) * (1.0 - torch.eye(m, dtype=x.dtype, device=x.device))
    return 0.5 * products.abs().sum() / (m * (m - 1) / 2)


def mean_square(x: Tensor) -> Tensor:
    """By hand: normalise, Gram, square."""
    m = len(x)
    u = unit_rows(x)
    unlike = u @ u.T - torch.eye(m, dtype=x.dtype, device=x.device)
    return unlike.pow(2).sum() / (m * (m - 1))


def largest(x: Tensor) -> Tensor:
    """By hand: normalise, Gram, square, the maximum of each row without the diagonal (the penalty of OrtSAE)."""
    u = unit_rows(x)
    return (u @ u.T).fill_diagonal_(0.0).pow(2).max(dim=1).values.mean()


def chunks(x: Tensor, k: int = 4) -> Tensor:
    """OrtSAE, arXiv:2509.22033: the same within each of k random parts; an estimate, and too small."""
    order = torch.randperm(len(x), device=x.device)
    return torch.stack([largest(part) for part in x[order].chunk(k)]).mean()


def self_model(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """arXiv:2407.10188 as one writes it: a linear layer and the mean squared error, the target detached."""
    return functional.mse_loss(functional.linear(x, W, b), x.detach())


def entropies(outputs: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
    """peerdavid/layerwise-batch-entropy, train.py: the mean over layers, which multiplies the task loss."""
    return torch.stack([entropy(x, alpha) for x, alpha in zip(outputs, alphas, strict=True)]).mean()
