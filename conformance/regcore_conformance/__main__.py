"""`python -m regcore_conformance`: do all libraries on this machine give the same values and gradients?"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from regcore.config import catalogue

from . import commands, live, page, records, report, suite
from .selection import Selection
from .verdicts import BAD
from .worker import names

DEPTHS = {
    "full": "every example where compiling is slow, too; takes several times as long",
    "quick": "nearly nothing that compiles, aimed at a minute on two cores; with --penalties it takes seconds",
}
FILES = {
    "json": (records.as_json, "write the result to this file, for programs"),
    "junit": (lambda run, command: records.as_junit(run), "and to this one, for build servers"),
    "html": (page.as_html, "and to this one, to look at in a browser"),
}


def main() -> int:
    """Run what the command line asks for and print a report; 1 if a cell is wrong or what is required is missing."""
    parser = _parser()
    options = parser.parse_args()
    paths = {name: path for name in FILES if (path := getattr(options, name))}
    for path in paths.values():
        if not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} to write {path.name} to: make it first")
    selection = Selection(tuple(options.penalties), tuple(options.cases), options.seed, options.depth, options.plain)
    if options.cases and not selection.cases():
        parser.error(f"there is no case {options.cases}; an id is penalty/example/pattern, such as TAR/0/dense")
    done = suite.run(options.only or names(), selection, watch=live.watcher(sys.stdout))
    print("\n" + report.text(done.verdicts, done.descriptions, done.sources, done.selection.seed))
    for name, path in paths.items():
        path.write_text(FILES[name][0](done, commands.of_run(options.only, selection)), encoding="utf-8")
    return _code(done, options.require)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m regcore_conformance", description=__doc__)
    every = names()
    some = {"nargs": "+", "default": [], "metavar": "NAME"}
    parser.add_argument("--only", choices=every, help=f"some of {every}", **some)
    parser.add_argument("--require", choices=every, help="fail if one is not run", **some)
    parser.add_argument("--penalties", choices=catalogue(), help="some of them", **some)
    parser.add_argument("--cases", nargs="+", default=[], metavar="ID", help="some of theirs, such as TAR/0/dense")
    parser.add_argument("--seed", type=int, default=0, help="other data, whose references are computed")
    parser.add_argument("--plain", action="store_true", help="by the plain formulas, without blocks, duals and pieces")
    depth = parser.add_mutually_exclusive_group()
    for name, meaning in DEPTHS.items():
        depth.add_argument(f"--{name}", dest="depth", action="store_const", const=name, default="default", help=meaning)
    for name, (_, meaning) in FILES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=meaning)
    return parser


def _code(done: suite.Run, required: Iterable[str]) -> int:
    absent = [name for name in required if all(v.status == "not run" for v in done.verdicts if v.backend == name)]
    if absent:
        print(f"required and not run: {', '.join(absent)}")
    return 1 if absent or any(v.status in BAD for v in done.verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
