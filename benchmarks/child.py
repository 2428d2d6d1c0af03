"""Jobs of the table in a process of their own: `python -m benchmarks.child JOBS` prints a line of JSON for each."""

import dataclasses
import json
import sys
import traceback
from typing import Any

from . import floors, memory, timing
from .row import BY_HAND, LOOSE, Row, Step, difference
from .rows import ROWS

BY_NAME = {row.name: row for row in ROWS}
HOW = ("setting", "device", "plain")


def main() -> None:
    for job in json.loads(sys.argv[1]):
        try:
            if job["device"] == "cuda":
                _number_format(job["setting"])
            found = {"timed": timed, "measured": measured}[job["task"]](BY_NAME[job["row"]], job)
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps({**job, **found}), flush=True)


def timed(row: Row, job: dict[str, Any]) -> dict[str, Any]:
    """Agreement first, then times."""
    shape, how = tuple(job["shape"]), {name: job[name] for name in HOW}
    every = row.steps(shape, **how)
    steps = {name: every[name] for name in job["variants"]}
    agreement = agreed(row, steps, how) if "peer" in steps or row.oracle else {}
    if not agreement.get("agrees", True):
        return {"agreement": agreement, "error": "ours and the peer do not agree"}
    if BY_HAND in steps and not agreed(row, steps, how, BY_HAND)["agrees"]:
        return {"agreement": agreement, "error": "what is written by hand and the peer do not agree"}
    clock = timing.clock(job["device"], job["wall"])
    sample = timing.SAMPLE / 20 if job["small"] else timing.SAMPLE
    times = timing.rounds(steps, clock, job["seconds"], sample)
    rates = floors.rates(row.library, job["setting"], job["device"], clock, sample)
    size = 2 if job["setting"] == "bfloat16" else 4
    return {
        "agreement": agreement,
        "rounds": len(times["ours"]),
        "seconds_each": {name: timing.quartiles(each) for name, each in times.items()},
        "ratios": ratios(times),
        "rates": rates,
        "floor": floors.floor(row, shape, size, rates),
    }


def ratios(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """The peer over ours and over what is written by hand; of training steps, all over one without a penalty."""
    found = {"faster": timing.ratios(times, "peer", "ours")} if "peer" in times else {}
    if "none" in times:
        steps = {"step": "ours", "peer_step": "peer", "by_hand": BY_HAND}
        found |= {name: timing.ratios(times, over, "none") for name, over in steps.items() if over in times}
    elif BY_HAND in times:
        found["by_hand"] = timing.ratios(times, "peer", BY_HAND)
    return found


def agreed(row: Row, steps: dict[str, Step], how: dict[str, Any], variant: str = "ours") -> dict[str, Any]:
    """How far it is from the peer, at the shape itself; from the oracle, where there is one, at the quick shape."""
    if row.oracle:
        steps = dataclasses.replace(row, peer=row.oracle).steps(row.quick, **how)
    value, gradient = difference(steps[variant](), steps["peer"]())
    tolerance = LOOSE if how["setting"] in ("tf32", "bfloat16") else row.tolerance
    return {"value": value, "gradient": gradient, "agrees": value <= tolerance[0] and gradient <= tolerance[1]}


def measured(row: Row, job: dict[str, Any]) -> dict[str, Any]:
    """Extra memory of one variant; of eager PyTorch also kernels, products and what is saved."""
    how = {name: job[name] for name in HOW}
    step, warm = (row.steps(shape, **how)[job["variant"]] for shape in (tuple(job["shape"]), row.quick))
    found: dict[str, Any] = {"extra": memory.extra(row, step, warm, job["device"])}
    if row.library == "torch" and job["device"] == "cpu":
        found["counts"] = memory.counts(step)
    return found


def _number_format(setting: str) -> None:
    import torch

    torch.set_float32_matmul_precision("high" if setting == "tf32" else "highest")


if __name__ == "__main__":
    main()
