"""The results as a table for people: a column for each framework, and at the end of a row whether they agree."""

from typing import Any

from .initial import NETS

LABEL, CELL = 20, 22
NOTES = """\
penalty      in the whole model, before the first step; frameworks differ in the rounding of their layers
exact        the exact grade on activations from NumPy, and its bits
error        the largest of the fast grade on the same activations, in units of the conformance bound
accuracy     on test images, the median of the last 5 points of the curve
seconds      of training, compiling included; in all, with imports and the proof"""


def table(results: dict[str, Any]) -> str:
    """What the JSON file has, as lines of text."""
    columns = list(results["frameworks"].values())
    lines = [f"{results['data']}, {results['steps']} steps", "", _line("", [column["label"] for column in columns])]
    for kind in NETS:
        nets = [column["nets"][kind.title] for column in columns]
        lines += [f"{kind.title}: {kind.formula}", *_step_0(nets), *_trained(nets), ""]
    seconds = [f"{column['seconds']:.1f}" if "seconds" in column else "" for column in columns]
    return "\n".join([*lines, _line("seconds in all", seconds), "", NOTES])


def _step_0(nets: list[dict[str, Any]]) -> list[str]:
    lines = [_line("penalty", [f"{net['penalty']:.9g}" for net in nets])]
    for site in nets[0]["proof"]:
        proofs = [net["proof"][site] for net in nets]
        same = len({proof["bits"] for proof in proofs}) == 1
        cells = [f"{proof['exact']} {proof['bits']}" for proof in proofs]
        lines.append(_line(f"exact, {site}", cells, "same" if same else "DIFFERENT"))
    for kind in ("value", "gradient"):
        worst = [max(proof[f"{kind}_error"] for proof in net["proof"].values()) for net in nets]
        cells = [f"{error:.2g}" for error in worst]
        lines.append(_line(f"{kind} error", cells, "<= 1" if all(error <= 1 for error in worst) else "> 1"))
    return lines


def _trained(nets: list[dict[str, Any]]) -> list[str]:
    arms = [(arm, [net.get(arm) for net in nets]) for arm in ("without", "with")]  # None for NumPy, which trains none
    return [
        *(_line(f"accuracy {arm}", [f"{run['accuracy']:.1%}" if run else "" for run in runs]) for arm, runs in arms),
        *(_line(f"seconds {arm}", [f"{run['seconds']:.1f}" if run else "" for run in runs]) for arm, runs in arms),
    ]


def _line(label: str, cells: list[str], verdict: str = "") -> str:
    return f"  {label:{LABEL - 2}}{''.join(f'{cell:{CELL}}' for cell in cells)}{verdict}".rstrip()
