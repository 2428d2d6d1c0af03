"""What was found of each row, as it is stored, and what of it reached its target."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .row import Row

Record = dict[str, Any]
TARGETS = ("step", "seconds", "kernels", "memory", "spare")


class Verdict(NamedTuple):
    """`got` is None where nothing was measured, or nothing can be."""

    what: str
    got: float | None
    target: float
    least: bool = False

    @property
    def reached(self) -> bool | None:
        if self.got is None:
            return None
        return self.got >= self.target if self.least else self.got <= self.target


def record(row: Row, done: Iterable[Mapping[str, Any]], device: str) -> Record:
    """All jobs of a row put together."""
    targets = {name: getattr(row, name) for name in TARGETS if getattr(row, name) is not None}
    faster = {setting: row.target(setting) for setting in row.settings(device)}
    made: Record = {
        "name": row.name,
        "library": row.library,
        "kind": row.kind,
        "targets": {**targets, "faster": faster},
    }
    made |= {"settings": {}, "memory": {}, "counts": {}, "errors": []}
    for job in done:
        made |= {"shape": list(job["shape"]), "device": job["device"]}
        if "error" in job:
            made["errors"].append(f"{job['task']} {job.get('variant', job['setting'])}: {job['error']}")
        elif job["task"] == "timed":
            keys = ("agreement", "rounds", "seconds_each", "ratios", "rates", "floor")
            made["settings"][job["setting"]] = {key: job[key] for key in keys}
        else:
            made["memory"][job["variant"]] = job["extra"]
            made["counts"] |= {job["variant"]: job["counts"]} if "counts" in job else {}
    return made


def of_times(record: Record, setting: str) -> list[Verdict]:
    """Targets that depend on how memory is handed out, or on the number format."""
    found, targets = record["settings"][setting], record["targets"]
    verdicts = []
    if targets["faster"].get(setting) is not None and "faster" in found["ratios"]:
        verdicts.append(Verdict("times faster", found["ratios"]["faster"][1], targets["faster"][setting], least=True))
    if "step" in targets:
        verdicts.append(Verdict("times the step", found["ratios"]["step"][1], targets["step"]))
    if "seconds" in targets:
        verdicts.append(Verdict("seconds", found["seconds_each"]["ours"][1], targets["seconds"]))
    return verdicts


def of_counts(record: Record) -> list[Verdict]:
    """Targets on memory and on the number of kernels."""
    memory, counts, targets = record["memory"], record["counts"], record["targets"]
    ours, peer = memory.get("ours"), memory.get("peer")
    verdicts = []
    if "memory" in targets:
        got = ours / peer if ours is not None and peer else None
        verdicts.append(Verdict("of the peer's extra memory", got, targets["memory"]))
    if "spare" in targets:
        got = None if ours is None else ours / (4.0 * math.prod(record["shape"]))
        verdicts.append(Verdict("of the input as extra memory", got, targets["spare"]))
    if "kernels" in targets:
        got = layer_kernels(record, "ours") if {"none", "ours"} <= counts.keys() else None
        verdicts.append(Verdict("kernels a layer", got, targets["kernels"]))
    return verdicts


def layer_kernels(record: Record, variant: str) -> float:
    """Kernels that the penalty adds to each layer of a training step."""
    counts = record["counts"]
    return float((counts[variant]["kernels"] - counts["none"]["kernels"]) / record["shape"][0])
