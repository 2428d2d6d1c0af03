"""How time and memory of ours grow, and whether the exponent is the expected one."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .row import Shape
from .rows import ROWS
from .running import Job, jobs, run
from .table import described, duration, grid, size

NEAR = 0.3  # of the expected exponent; memory may grow less


class Curve(NamedTuple):
    """A row at several shapes, which differ along one axis; the exponents that are expected there."""

    name: str
    row: str
    along: str
    axis: int
    shapes: tuple[Shape, ...]
    quick: tuple[Shape, ...]
    time: float
    memory: float | None


def _vary(sizes: Iterable[int], *rest: int) -> tuple[Shape, ...]:
    return tuple([(size, *rest) for size in sizes])


VECTORS, SMALL = _vary((4096, 8192, 16384), 128), _vary((16, 32, 64), 8)
CURVES = [
    Curve("mean abs(cos)", "abscos", "m", 0, VECTORS, SMALL, 2.0, 1.0),
    Curve("mean cos^2", "cos2", "m", 0, _vary((4096, 8192, 16384, 32768), 256), SMALL, 1.0, 1.0),
    Curve("max cos^2", "max", "m", 0, VECTORS, SMALL, 2.0, 1.0),
    Curve("covariance", "cov-256", "n", 0, _vary((512, 1024, 2048), 8192), SMALL, 2.0, 1.0),
    Curve("batch entropy", "lbe-500x32", "layers", 0, _vary((16, 64, 256), 256, 32), _vary((2, 4, 8), 8, 4), 1.0, None),
]


def measure(options: Any) -> dict[str, Any]:
    """All curves, as they are stored."""
    return {"curves": [_curve(curve, options) for curve in CURVES]}


def _curve(curve: Curve, options: Any) -> dict[str, Any]:
    points = []
    for shape in curve.quick if options.quick else curve.shapes:
        seconds, extra, error = _point(list(run(_jobs(curve, shape, options), together=options.quick)))
        points.append({"shape": list(shape), "seconds": seconds, "extra": extra, "error": error})
    sizes = [point["shape"][curve.axis] for point in points]
    return {
        "name": curve.name,
        "along": curve.along,
        "points": points,
        "time": {"exponent": exponent(sizes, [point["seconds"] for point in points]), "expected": curve.time},
        "memory": {"exponent": exponent(sizes, [point["extra"] for point in points]), "expected": curve.memory},
    }


def _jobs(curve: Curve, shape: Shape, options: Any) -> list[Job]:
    """Times and memory of ours; of a training step also the step without."""
    row = next(row for row in ROWS if row.name == curve.row)
    variants = [name for name in row.variants if name != "peer"]
    timed, *measured = [job for job in jobs(row, options) if job["setting"] == "default"]
    found = [{**timed, "shape": shape, "variants": variants}]
    ours = [{**job, "shape": shape} for job in measured if job["variant"] == "ours"]
    return found + (ours if curve.memory is not None else [])


def _point(done: list[Job]) -> tuple[float | None, int | None, str]:
    error = "; ".join([job["error"] for job in done if "error" in job])
    each = {name: quartiles[1] for name, quartiles in done[0].get("seconds_each", {}).items()}
    seconds = each["ours"] - each.get("none", 0.0) if each else None
    return seconds, done[-1].get("extra"), error


def exponent(sizes: list[int], values: list[float | None]) -> float | None:
    """The slope of a line through the logarithms; None where a value is missing or not positive."""
    if len(sizes) < 2 or any(value is None or value <= 0 for value in values):
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(np.asarray(values, dtype=float)), 1)
    return float(slope)


def tables(results: dict[str, Any]) -> str:
    head = ["penalty", "along", "sizes", "time", "exponent", "expected", "near", "extra memory", "exponent", "expected"]
    return "\n".join([described(results), "", grid([*head, "near"], [_line(curve) for curve in results["curves"]])])


def _line(curve: dict[str, Any]) -> list[str]:
    points = curve["points"]
    return [
        curve["name"],
        curve["along"],
        ", ".join(["x".join(map(str, point["shape"])) for point in points]),
        ", ".join([duration(point["seconds"]) for point in points]),
        *_fit(curve["time"]),
        ", ".join([size(point["extra"]) for point in points]) if curve["memory"]["expected"] else "-",
        *_fit(curve["memory"], least=-np.inf),
    ]


def _fit(fit: dict[str, float | None], least: float = -NEAR) -> list[str]:
    got, expected = fit["exponent"], fit["expected"]
    if got is None or expected is None:
        return ["-", "-" if expected is None else f"{expected:.3g}", "-"]
    return [f"{got:.2f}", f"{expected:.3g}", "yes" if least <= got - expected <= NEAR else "no"]
