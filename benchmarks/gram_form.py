"""Errors in float32 of SelfModel by residuals and by the products of features: `python -m benchmarks.gram_form`."""

from typing import Any

import numpy as np

from .table import grid

SAMPLES, FEATURES = 4096, 256
RATIOS = (1.0, 0.1, 0.01, 0.001)  # of the length of residuals over that of x


def by_residuals(x: Any, W: Any, b: Any) -> tuple[Any, Any, Any]:
    """Value, derivative by W and by x with the target detached, for a sum; 6 products of samples * features**2."""
    residual = x @ W.T + b - x
    return np.sum(residual * residual), 2 * residual.T @ x, 2 * residual @ W


def by_gram(x: Any, W: Any, b: Any) -> tuple[Any, Any, Any]:
    """The same from x^T x; 4 products of samples * features**2 and 4 of features**3."""
    V, gram, total = W - np.eye(len(W), dtype=W.dtype), x.T @ x, np.sum(x, axis=0)
    by_V = V @ gram + np.outer(b, total)
    value = np.sum(by_V * V) + b @ (V @ total) + len(x) * (b @ b)
    return value, 2 * by_V, 2 * (x @ (V.T @ W) + b @ W)


def near_identity(rng: Any, ratio: float) -> tuple[Any, ...]:
    """W is nearly 1 in every entry."""
    x = rng.standard_normal((SAMPLES, FEATURES))
    W = np.eye(FEATURES) + ratio / np.sqrt(FEATURES) * rng.standard_normal((FEATURES, FEATURES))
    return x, W, np.zeros(FEATURES)


def near_subspace(rng: Any, ratio: float) -> tuple[Any, ...]:
    """x is nearly in a subspace of half the dimensions, which W projects on: what training on such data gives."""
    basis, _ = np.linalg.qr(rng.standard_normal((FEATURES, FEATURES)))
    size = np.where(np.arange(FEATURES) < FEATURES // 2, 1.0, ratio)
    half = basis[:, : FEATURES // 2]
    return rng.standard_normal((SAMPLES, FEATURES)) * size @ basis.T, half @ half.T, np.zeros(FEATURES)


def errors(form: Any, data: tuple[Any, ...]) -> list[float]:
    """Relative, by the norm, against float64 on the same float32 numbers; by x relative to twice the residuals."""
    data = tuple(array.astype(np.float32) for array in data)
    true = by_residuals(*(array.astype(np.float64) for array in data))
    sizes = [np.linalg.norm(true[0]), np.linalg.norm(true[1]), 2 * np.sqrt(true[0])]
    each = zip(form(*data), true, sizes, strict=True)
    return [float(np.linalg.norm(one - other) / size) for one, other, size in each]


def main() -> None:
    lines = []
    for data in (near_identity, near_subspace):
        for ratio in RATIOS:
            given = data(np.random.Generator(np.random.Philox(0)), ratio)
            found = [*errors(by_residuals, given), *errors(by_gram, given)]
            lines.append([data.__name__, f"{ratio:g}", *(f"{error:.1e}" for error in found)])
    names = [f"{name}, {form}" for form in ("residuals", "Gram") for name in ("value", "by W", "by x")]
    print(grid(["data", "residual / x", *names], lines))


if __name__ == "__main__":
    main()
