"""The rows of the table."""

from fnmatch import fnmatch

from regcore import AR, TAR, BatchEntropy, Covariance, MaxCosine, Orthogonality, Penalty, SelfModel, added

from .row import Row

SEQUENCE = {"shape": (64, 512, 1024), "quick": (4, 16, 32)}  # 128 MB
EQUAL = 1 / 1.05  # never slower than 1.05 times the peer


def both() -> Penalty:
    return 2.0 * AR() + 1.0 * TAR()


def batch_entropy() -> Penalty:
    return added(BatchEntropy())


def abs_cosine() -> Penalty:
    return Orthogonality(power=1)


def bf16_products() -> Penalty:
    return Orthogonality(power=1, products="bfloat16")


def bf16_search() -> Penalty:
    return MaxCosine(search="bfloat16")


def self_model() -> Penalty:
    return SelfModel(features=512)


def wide_self_model() -> Penalty:
    return SelfModel(features=1024)


def dual(n: int, d: int) -> float:
    """The n*n products, and those times the samples; or d*d ones where there are fewer."""
    return 4.0 * n * d * min(n, d)


def frame(m: int, d: int) -> float:
    return 4.0 * m * d * min(m, d)


def upper(m: int, d: int) -> float:
    """Each product once, and both factors' gradients."""
    return 3.0 * m * m * d


def search(m: int, d: int) -> float:
    """Each product once."""
    return 1.0 * m * m * d


def residual(n: int, d: int) -> float:
    return min(6.0 * n * d * d, 4.0 * n * d * d + 4.0 * d**3)


SIGNS = (1e-5, 1e-2)  # a cosine near 0 may have either sign, one near the maximum may be taken for it
MATRIX = {"quick": (40, 8), "tolerance": (1e-5, 1e-3)}

ROWS = [
    Row(name="ar", peer="ar", by_hand="ar", spec=AR, passes=3, spare=0.05, faster={"pooled": 3.5, "default": 4.5},
        **SEQUENCE),
    Row(name="tar", peer="tar", by_hand="tar", spec=TAR, passes=3, spare=0.05, faster={"pooled": 2.8, "default": 6},
        **SEQUENCE),
    Row(name="ar+tar", peer="ar_tar", by_hand="ar_tar", spec=both, passes=3, spare=0.05,
        faster={"pooled": 3.5, "default": 9}, **SEQUENCE),
    Row(name="lstm-step", kind="lstm", peer="ar_tar", spec=both, shape=(20, 70, 400), quick=(2, 4, 8), step=1.05),
    Row(name="lbe", peer="entropy", by_hand="entropy", spec=batch_entropy, shape=(4096, 4096), quick=(16, 8), passes=4,
        faster=6),
    Row(name="lbe-500x32", kind="layers", peer="entropies", by_hand="entropies", spec=BatchEntropy,
        shape=(500, 256, 32), quick=(5, 16, 8), step=1.25, kernels=3, tolerance=(1e-5, 1e-3)),
    Row(name="lbe-500x128", kind="layers", peer="entropies", by_hand="entropies", spec=BatchEntropy,
        shape=(500, 256, 128), quick=(5, 16, 8), step=1.13, kernels=3, tolerance=(1e-5, 1e-3)),
    Row(name="cov-256", peer="covariance", by_hand="covariance", spec=Covariance, shape=(256, 8192), quick=(6, 40),
        flops=dual, faster=40, memory=1 / 100),
    Row(name="cov-2048", peer="covariance", spec=Covariance, shape=(2048, 8192), quick=(20, 50), flops=dual, faster=5.5,
        memory=1 / 12),
    Row(name="cos2", peer="mean_square", by_hand="mean_square", spec=Orthogonality, shape=(16384, 512), flops=frame,
        faster=45, memory=1 / 60, **MATRIX),
    Row(name="cos2-65536", peer="", oracle="mean_square", spec=Orthogonality, shape=(65536, 512), flops=frame,
        seconds=1.5, spare=300 / 128, full=True, **MATRIX),
    Row(name="abscos", peer="mean_abs", spec=abs_cosine, shape=(16384, 512), quick=(40, 8), flops=upper, faster=1.9,
        memory=1 / 50, tolerance=SIGNS),
    Row(name="abscos-bf16", peer="mean_abs", spec=bf16_products, shape=(16384, 512), quick=(40, 8), flops=upper,
        faster=3, tolerance=(1e-3, 1e-2)),
    Row(name="abscos-65536", peer="", oracle="mean_abs", spec=abs_cosine, shape=(65536, 512), quick=(40, 8),
        flops=upper, tolerance=SIGNS, full=True),
    Row(name="max", peer="largest", spec=MaxCosine, shape=(16384, 512), quick=(40, 8), flops=search, faster=3.5,
        tolerance=SIGNS),
    Row(name="max-chunks", peer="chunks", oracle="largest", spec=MaxCosine, shape=(16384, 512), quick=(40, 8),
        flops=search, faster=1 / 1.1, tolerance=SIGNS),
    Row(name="max-bf16", peer="largest", spec=bf16_search, shape=(8192, 512), quick=(40, 8), flops=search, faster=7,
        tolerance=(1e-3, 0.3)),
    Row(name="selfmodel", peer="self_model", by_hand="self_model", spec=self_model, shape=(16384, 512), quick=(8, 512),
        flops=residual, faster=1.5, memory=1 / 30),
    Row(name="selfmodel-wide", peer="self_model", by_hand="self_model", spec=wide_self_model, shape=(256, 1024),
        quick=(4, 1024), flops=residual, faster=EQUAL),
    Row(name="small-ar", peer="written", by_hand="written", spec=AR, shape=(16, 32), quick=(16, 32), faster=EQUAL),
    Row(name="small-tar", peer="written_tar", by_hand="written_tar", spec=TAR, shape=(1, 16, 32), quick=(1, 16, 32),
        faster=EQUAL),
    Row(name="many-ar", kind="many", peer="many", by_hand="many", spec=AR, shape=(500, 16, 32), quick=(5, 4, 8),
        faster=8),
    Row(name="compiled-ar+tar", library="torch.compile", peer="ar_tar", spec=both, passes=3, faster=EQUAL, **SEQUENCE),
    Row(name="compiled-cos2", library="torch.compile", peer="mean_square", spec=Orthogonality, shape=(8192, 512),
        flops=frame, faster=EQUAL, **MATRIX),
    Row(name="jax-ar+tar", library="jax", peer="ar_tar", spec=both, passes=3, faster=EQUAL, **SEQUENCE),
    Row(name="jax-lbe", library="jax", peer="entropy", spec=batch_entropy, shape=(4096, 4096), quick=(16, 8), passes=4,
        faster=EQUAL),
    Row(name="jax-cov", library="jax", peer="covariance", by_hand="covariance_by_hand", spec=Covariance,
        shape=(512, 8192), quick=(6, 40), flops=dual, faster=25, memory=1 / 40),
    Row(name="jax-cos2", library="jax", peer="mean_square", by_hand="mean_square_by_hand", spec=Orthogonality,
        shape=(8192, 512), flops=frame, faster=20, memory=1 / 15, **MATRIX),
    Row(name="jax-abscos", library="jax", peer="mean_abs", spec=abs_cosine, shape=(8192, 512), quick=(40, 8),
        flops=upper, faster=EQUAL, memory=1, tolerance=SIGNS),
    Row(name="tf-tar", library="tensorflow", peer="tar", spec=TAR, passes=3, faster=EQUAL, **SEQUENCE),
    Row(name="tf-cov", library="tensorflow", peer="covariance", spec=Covariance, shape=(256, 2048), quick=(6, 40),
        flops=dual, faster=EQUAL),
    Row(name="tf-cos2", library="tensorflow", peer="mean_square", spec=Orthogonality, shape=(4096, 512), flops=frame,
        faster=EQUAL, **MATRIX),
    Row(name="tf-abscos", library="tensorflow", peer="mean_abs", spec=abs_cosine, shape=(4096, 512), quick=(40, 8),
        flops=upper, faster=EQUAL, tolerance=SIGNS),
    Row(name="numpy-tar", library="numpy", peer="tar", by_hand="tar_by_hand", spec=TAR, passes=3, faster=3, **SEQUENCE),
    Row(name="numpy-cos2", library="numpy", peer="mean_square", spec=Orthogonality, shape=(8192, 512), flops=frame,
        faster=9, **MATRIX),
]  # fmt: skip


def chosen(globs: list[str], full: bool) -> list[Row]:
    """Rows whose names match; those that take long only in full, or if they are named."""
    rows = [row for row in ROWS if any(fnmatch(row.name, glob) for glob in globs)]
    if not rows:
        raise ValueError(f"no row is named {globs}; there are {[row.name for row in ROWS]}")
    return [row for row in rows if full or not row.full or row.name in globs]
