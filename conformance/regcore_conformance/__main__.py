"""`python -m regcore_conformance`: do all libraries on this machine give the same values and gradients?"""

import argparse
import sys
from pathlib import Path

from regcore.config import catalogue

from . import records, report, suite
from .worker import names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m regcore_conformance", description=__doc__)
    every = names()
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME", help=f"some of {every}")
    parser.add_argument(
        "--require", nargs="+", choices=every, default=[], metavar="NAME", help="fail if one is not run"
    )
    parser.add_argument("--penalties", nargs="+", choices=catalogue(), default=[], metavar="NAME", help="some of them")
    depth = parser.add_mutually_exclusive_group()
    for name, meaning in {
        "full": "every example where compiling is slow, too; takes several times as long",
        "quick": "nearly nothing that compiles; with --penalties it takes seconds, for use while you write one",
    }.items():
        depth.add_argument(f"--{name}", dest="depth", action="store_const", const=name, default="default", help=meaning)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file, for programs")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="and to this one, for build servers")
    options = parser.parse_args()
    for path in filter(None, (options.json, options.junit)):
        if not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} to write {path.name} to: make it first")

    outcomes, truths, sources = suite.run(
        options.only,
        penalties=options.penalties,
        depth=options.depth,
        progress=lambda line: print(line, flush=True),
    )
    verdicts = suite.judge(outcomes, truths)
    descriptions = {outcome.name: outcome.description for outcome in outcomes}
    print("\n" + report.text(verdicts, descriptions, sources))
    if options.json:
        options.json.write_text(records.as_json(verdicts, descriptions, sources), encoding="utf-8")
    if options.junit:
        options.junit.write_text(records.as_junit(verdicts), encoding="utf-8")
    absent = [name for name in options.require if all(v.status == "not run" for v in verdicts if v.backend == name)]
    if absent:
        print(f"required and not run: {', '.join(absent)}")
    return 1 if absent or any(v.status in ("fail", "error") for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
