"""How much is run: all of it, what takes minutes, or what takes seconds; and why the rest is not."""

X64_IS_NO_MATTER = {("eager", "float32"), ("jit", "float32"), ("jit", "exact")}


def left_out(depth: str, backend: str, mode: str, grade: str, case: str) -> str:
    """Why a cell is not run, or "" if it is; `depth` is "default", "full" or "quick".

    >>> left_out("default", "torch:cpu", "eager", "exact", "L2/3/dense")
    ''
    >>> left_out("default", "torch:cpu", "compile", "exact", "L2/3/dense")
    'takes long, and the first example of each penalty is run: --full'
    """
    library, first = backend.split(":")[0], case.split("/")[1] == "0"
    if depth == "full":
        return ""
    slow = mode != "eager" or library in ("jax", "tensorflow")  # JAX compiles each operation for each shape
    single = grade != "float64" and mode in ("jit", "function") and not backend.endswith("x64")
    if depth == "quick":
        return "left out by --quick" if slow and not (first and single) else ""
    if slow and not first and not single:
        return "takes long, and the first example of each penalty is run: --full"
    if grade == "float64" and mode == "xla":
        return "takes long, and float32 and the exact grade are run: --full"
    if grade != "float32" and mode == "compile":  # 4 seconds for each penalty, where other compilers take a tenth
        return "takes long, and float32 is run: --full"
    if backend == "jax:cpu:x64" and (mode, grade) in X64_IS_NO_MATTER:
        return "takes long, and jax:cpu runs the same with x64 off: --full"
    return ""
