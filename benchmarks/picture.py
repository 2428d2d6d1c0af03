"""The ratios as a picture, with what they are to reach, and how time and memory grow."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .records import of_times

COLORS = {"pooled": "#0072b2", "default": "#d55e00", "float32": "#0072b2", "tf32": "#d55e00", "bfloat16": "#009e73"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Whatever a JSON file has."""
    bars = sum([len(row["settings"]) for row in results.get("rows", [])])
    figure = Figure(figsize=(10, max(5, 1 + bars / 5)), layout="constrained")
    if "rows" in results:
        _ratios(figure.subplots(), results["rows"])
    else:
        left, right = figure.subplots(1, 2)
        _growth(left, results["curves"], "seconds", "time", "seconds")
        _growth(right, results["curves"], "extra", "memory", "extra bytes")
    figure.savefig(path, dpi=120)


def _ratios(axes: Axes, rows: list[dict[str, Any]]) -> None:
    shown = [(row, name) for row in reversed(rows) for name in row["settings"] if "faster" in _of(row, name)["ratios"]]
    for height, (row, setting) in enumerate(shown):
        low, middle, high = _of(row, setting)["ratios"]["faster"]
        axes.barh(height, middle, xerr=[[middle - low], [high - middle]], color=COLORS[setting])
        for verdict in of_times(row, setting):
            if verdict.least:
                axes.plot([verdict.target] * 2, [height - 0.45, height + 0.45], color="black")
    axes.set_yticks(range(len(shown)), [f"{row['name']}, {setting}" for row, setting in shown], fontsize=7)
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set(xscale="log", xlabel="times faster than the peer; black: to reach", title="Forward and backward")


def _of(row: dict[str, Any], setting: str) -> dict[str, Any]:
    found: dict[str, Any] = row["settings"][setting]
    return found


def _growth(axes: Axes, curves: list[dict[str, Any]], key: str, fit: str, label: str) -> None:
    for curve in curves:
        points = [(max(p["shape"][0], 1), p[key]) for p in curve["points"] if p[key]]
        slope = curve[fit]["exponent"]
        if points and slope is not None:
            axes.plot(*zip(*points, strict=True), "o-", label=f"{curve['name']}: {curve['along']}^{slope:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="size", ylabel=label)
    axes.legend(fontsize=8)
