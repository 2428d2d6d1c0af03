"""What was recorded as tables, for the terminal and for the page."""

from statistics import median
from typing import Any

from .records import Record, Verdict, layer_kernels, of_counts, of_times
from .rows import ROWS

UNITS = ((2**30, "GB"), (2**20, "MB"), (2**10, "kB"), (1, "B"))
REACHED = {True: "yes", False: "no", None: "not run"}


def tables(results: dict[str, Any]) -> str:
    """All of a JSON file."""
    rows = results["rows"]
    lines = [described(results), "", _rates(rows), "", _times(rows), "", _counts(rows)]
    if errors := [f"- {row['name']}: {error}" for row in rows for error in row["errors"]]:
        lines += ["", "FAILED:", "", *errors]
    if missing := sorted({row.name for row in ROWS} - {row["name"] for row in rows}):
        lines += ["", f"Rows not run: {', '.join(missing)}."]
    if not results["machine"]["cuda"]:
        lines += ["", "GPU: not run; this machine has none, or was not asked for it."]
    return "\n".join(lines)


def described(results: dict[str, Any]) -> str:
    """What the run took place on."""
    return "; ".join([f"{name}: {value}" for name, value in results["machine"].items() if value]) + "."


def _rates(rows: list[Record]) -> str:
    """Medians over the rows of PyTorch of what the floors are taken from."""
    found: dict[str, list[dict[str, float]]] = {}
    for row in (row for row in rows if row["library"] == "torch"):
        for setting, timed in row["settings"].items():
            found.setdefault(setting, []).append(timed["rates"])
    each = []
    for setting, rates in found.items():
        copied, fresh, products = (median([rate[kind] for rate in rates]) / 1e9 for kind in ("bytes", "fresh", "flops"))
        each.append(
            f"{setting}: copies {copied:.3g} GB/s, to new memory {fresh:.3g} GB/s, products {products:.3g} GFLOP/s"
        )
    return f"Rates in PyTorch, {'; '.join(each)}." if each else "Rates in PyTorch: not run."


def _times(rows: list[Record]) -> str:
    head = ["row", "library", "shape", "malloc", "peer", "ours", "ratio", "target", "reached"]
    head += ["by hand", "floor", "of floor", "at best"]
    return grid(head, [_time(row, setting) for row in rows for setting in row["settings"]])


def _time(row: Record, setting: str) -> list[str]:
    found = row["settings"][setting]
    each, floor = found["seconds_each"], found["floor"]
    verdicts = of_times(row, setting)
    name = "step" if "step" in found["ratios"] else "faster"
    low, middle, high = found["ratios"].get(name, [None] * 3)
    ratio = f"{middle:.3g} [{low:.3g}, {high:.3g}]" if middle else "-"
    if name == "step":
        ratio += f" of the step, peer {found['ratios']['peer_step'][1]:.3g}"
    return [
        row["name"],
        row["library"],
        "x".join(map(str, row["shape"])),
        setting,
        duration(each.get("peer", [None] * 3)[1]),
        duration(each["ours"][1]),
        ratio,
        "; ".join([_target(verdict) for verdict in verdicts]) or "-",
        "; ".join([REACHED[verdict.reached] for verdict in verdicts]) or "-",
        f"{found['ratios']['by_hand'][1]:.3g}" if "by_hand" in found["ratios"] else "-",
        duration(floor),
        f"{floor / each['ours'][1]:.0%}" if floor else "-",
        f"{each['peer'][1] / floor:.3g}" if floor and "peer" in each else "-",
    ]


def _counts(rows: list[Record]) -> str:
    head = [
        "row",
        "extra memory",
        "target",
        "reached",
        "kernels",
        "GFLOP",
        "saved",
        "value off",
        "gradient off",
    ]
    return grid(head, [_count(row) for row in rows if row["settings"]])


def _count(row: Record) -> list[str]:
    counts, verdicts = row["counts"], of_counts(row)
    agreement = next(iter(row["settings"].values()))["agreement"]
    layers = row["kind"] == "layers" and {"none", "peer", "ours"} <= counts.keys()
    kernels = {name: layer_kernels(row, name) for name in ("peer", "ours")} if layers else _each(counts, "kernels")
    return [
        row["name"],
        _change({name: size(row["memory"][name]) for name in ("peer", "ours") if name in row["memory"]}),
        "; ".join([_target(verdict) for verdict in verdicts]) or "-",
        "; ".join([f"{_got(verdict)} {REACHED[verdict.reached]}" for verdict in verdicts]) or "-",
        _change({name: f"{count:.4g}" for name, count in kernels.items()}) + (" a layer" if layers else ""),
        _change({name: f"{count / 1e9:.4g}" for name, count in _each(counts, "flops").items()}),
        _change({name: size(count) for name, count in _each(counts, "saved").items()}),
        *(f"{agreement[kind]:.1e}" if agreement else "-" for kind in ("value", "gradient")),
    ]


def _each(counts: Any, what: str) -> dict[str, float]:
    return {name: counts[name][what] for name in ("peer", "ours") if name in counts}


def _change(cells: dict[str, str]) -> str:
    """From the peer to ours."""
    return " -> ".join(cells.values()) or "-"


def _target(verdict: Verdict) -> str:
    return f"{'at least' if verdict.least else 'at most'} {verdict.target:.3g} {verdict.what}"


def _got(verdict: Verdict) -> str:
    return "" if verdict.got is None else f"{verdict.got:.3g}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def size(count: float | None) -> str:
    if count is None:
        return "not run"
    scale, unit = next((scale, unit) for scale, unit in UNITS if count >= scale or scale == 1)
    return f"{count / scale:.3g} {unit}"


def grid(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, aligned for the terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [" | ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]) for row in [head, *rows]]
    rule = " | ".join(["-" * width for width in widths])
    return "\n".join([f"| {line} |" for line in [lines[0], rule, *lines[1:]]])
