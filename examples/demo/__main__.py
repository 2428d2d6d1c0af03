"""Train the same networks with the same penalties in every framework, and prove at step 0 that the penalties agree."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import curves, frameworks, proof, reference
from .data import Data, load
from .frameworks import FRAMEWORKS
from .table import table


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    try:
        data = load(options.data)
    except FileNotFoundError as error:
        parser.error(str(error))
    if not (present := _present(options.frameworks)):
        print("There is no framework to show: install one of the above.", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    found, problems = _run(present, data, options)
    problems += proof.failures(found)
    _write({"data": data.name, "steps": options.steps, "frameworks": found, "problems": problems}, options.out)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--frameworks", type=_names, default=list(FRAMEWORKS), help="such as torch,flax (all)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the MNIST test set, instead of digits")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo"), help="for demo.json and demo.png")
    parser.add_argument(
        "--steps", type=_positive, default=750, help="of the deep net, half of them of the other (%(default)s)"
    )
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in FRAMEWORKS]:
        raise argparse.ArgumentTypeError(f"got {unknown}; expected some of {','.join(FRAMEWORKS)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number of steps, at least 1")
    return int(text)


def _present(names: list[str]) -> list[str]:
    """Those of the frameworks that are installed; the terminal is told about the others."""
    for framework in (FRAMEWORKS[name] for name in names):
        if framework.missing:
            print(
                f"{framework.title} is left out: {' and '.join(framework.missing)} cannot be found; "
                f"to have it, pip install -e '.[{framework.extras}]'",
                file=sys.stderr,
            )
    return [name for name in names if not FRAMEWORKS[name].missing]


def _run(present: list[str], data: Data, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What was found, by framework, and which of them failed."""
    numpy, activations = reference.column(data)
    found, problems = {"numpy": numpy}, []
    arguments = ["--steps", str(options.steps), *(["--data", str(options.data)] if options.data else [])]
    for name in present:
        print(FRAMEWORKS[name].label, file=sys.stderr)
        try:
            found[name] = frameworks.run(name, activations, arguments)
        except subprocess.CalledProcessError as error:
            problems.append(f"{FRAMEWORKS[name].title} failed with exit status {error.returncode}; see above for why")
    return found, problems


def _write(results: dict[str, Any], folder: Path) -> None:
    (folder / "demo.json").write_text(json.dumps(results, indent=1))
    curves.draw(results, folder / "demo.png")
    print(f"\n{table(results)}\n")
    print(f"Written: {folder / 'demo.json'}, {folder / 'demo.png'}")
    for problem in results["problems"]:
        print(f"FAILED: {problem}", file=sys.stderr)
    if not results["problems"]:
        print("PASSED: the exact values have the same bits everywhere, all errors are inside the conformance bound.")


if __name__ == "__main__":
    sys.exit(main())
