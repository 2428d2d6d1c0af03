"""The results as a picture: accuracy and penalty over the steps, a row for each network."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from .initial import NETS

COLORS = {"torch": "#d55e00", "flax": "#0072b2", "keras": "#009e73"}  # told apart by the colour-blind as well
WIDTHS = {"torch": 6.0, "flax": 3.5, "keras": 1.2}  # so that curves on top of each other are all seen
STYLES = {"with": "-", "without": "--"}


def draw(results: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(11, 8), layout="constrained")
    trained = {name: column for name, column in results["frameworks"].items() if name in COLORS}
    for kind, (left, right) in zip(NETS, figure.subplots(len(NETS), 2), strict=True):
        nets = {name: column["nets"][kind.title] for name, column in trained.items()}
        _accuracy(left, nets, f"{kind.title.capitalize()}: accuracy on test images")
        _penalty(right, nets, f"{kind.title.capitalize()}: penalty in training")
    figure.suptitle(f"The same penalties from the same initial weights, on {results['data']}")
    figure.legend(handles=_legend(trained), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=120)


def _accuracy(axes: Axes, nets: dict[str, Any], title: str) -> None:
    for name, net in nets.items():
        for arm, style in STYLES.items():
            _curve(axes, name, net[arm]["curve"], "accuracy", style)
    axes.set(title=title, xlabel="step", ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)


def _penalty(axes: Axes, nets: dict[str, Any], title: str) -> None:
    for name, net in nets.items():
        _curve(axes, name, net["with"]["curve"], "penalty", STYLES["with"])
    axes.set(title=title, xlabel="step")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _curve(axes: Axes, name: str, curve: list[dict[str, float]], key: str, style: str) -> None:
    steps, values = zip(*((point["step"], point[key]) for point in curve), strict=True)
    axes.plot(steps, values, style, color=COLORS[name], linewidth=WIDTHS[name])


def _legend(trained: dict[str, Any]) -> list[Line2D]:
    colors = [
        Line2D([], [], color=COLORS[name], linewidth=WIDTHS[name], label=column["label"])
        for name, column in trained.items()
    ]
    styles = [Line2D([], [], color="black", linestyle=style, label=f"{arm} penalty") for arm, style in STYLES.items()]
    return colors + styles
