"""What the penalties cost beside the code that people write or publish.

python -m benchmarks                         every row of the table; --list names them
python -m benchmarks --rows 'ar*,cos2'       some of them
python -m benchmarks --json FILE --picture FILE
python -m benchmarks page FILE               what docs/performance.md shows of a JSON file
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import accuracy, machine, page, scaling, table
from .records import record
from .rows import chosen
from .running import ROOT, jobs, run

PAGE = ROOT / "docs" / "performance.md"
OTHERS = {"scaling": scaling, "accuracy": accuracy}


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    try:
        rows = chosen(options.rows.split(","), options.full)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print("\n".join([f"{row.name:18}{row.library:15}{'x'.join(map(str, row.shape))}" for row in rows]))
        return 0
    if options.command == "page":
        PAGE.write_text(page.filled(PAGE.read_text(encoding="utf-8"), PAGE.parent), encoding="utf-8")
        return 0
    if options.device == "cuda":
        rows = [row for row in rows if row.library == "torch"]
        if not _cuda_is_here():
            print("not run: PyTorch finds no CUDA device", file=sys.stderr)
            return 1
    return _measure(rows, options) if options.command == "table" else _other(OTHERS[options.command], options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="table", choices=["table", *OTHERS, "page"])
    parser.add_argument("--rows", default="*", metavar="GLOBS", help="such as 'ar*,cos2' (all)")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--quick", action="store_true", help="small arrays: whether it works, not how fast it is")
    parser.add_argument("--full", action="store_true", help="also the rows of 65536 vectors")
    parser.add_argument("--plain", action="store_true", help="ours by the plain formulas, as regcore.plain has them")
    parser.add_argument(
        "--wall", action="store_true", help="time on the wall with 2 threads, instead of CPU time with 1"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: rows of eager PyTorch only")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="of a row and setting (%(default)s); 5 rounds at least"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the ratios; needs matplotlib")
    return parser


def _measure(rows: list[Any], options: argparse.Namespace) -> int:
    results: dict[str, Any] = {"machine": machine.describe(options.wall, options.plain, options.device), "rows": []}
    todo = {row.name: jobs(row, options) for row in rows}
    done: dict[str, list[Any]] = {row.name: [] for row in rows}
    for job in run([job for each in todo.values() for job in each], together=options.quick):
        done[job["row"]].append(job)
        print(
            f"{job['row']} {job['task']} {job.get('variant', job['setting'])} {job.get('error', '')}", file=sys.stderr
        )
        results["rows"] = [record(row, done[row.name], options.device) for row in rows if done[row.name]]
        _write(results, options)
    print(table.tables(results))
    return 1 if any(row["errors"] for row in results["rows"]) else 0


def _other(module: Any, options: argparse.Namespace) -> int:
    about = machine.describe(options.wall, options.plain, options.device)
    results = {"machine": about, **module.measure(options)}
    _write(results, options)
    print(module.tables(results))
    return 0


def _write(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Only what was asked for."""
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        from .picture import draw

        draw(results, options.picture)


def _cuda_is_here() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
