"""The command `regcore`: which penalties there are, what one of them is, and whether all libraries agree on them."""

import argparse
import dataclasses
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

import regcore

from . import annotations, config, presets
from .penalty import Penalty
from .presets import PRESETS, Preset

SUITE = "regcore_conformance"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code, 2 for what could not be understood."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["conform"]:  # whose options are not ours to read
        return _conform(given[1:])
    options = _parser().parse_args(given)
    try:
        print("\n".join(_COMMANDS[options.command](options)), flush=True)
    except (TypeError, ValueError) as error:
        print(f"regcore {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough, as `head` has; nothing is left to flush at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def formula(kind: type[Penalty]) -> str:
    """The formula with which the docstring of a penalty opens, and "" if it does not.

    >>> from regcore.cli import formula
    >>> formula(L1)
    'mean(abs(x))'
    """
    found = re.match(r"`(.+?)`", inspect.getdoc(kind) or "", re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def markdown(kinds: Mapping[str, type[Penalty]]) -> Iterable[tuple[str, ...]]:
    """The cells of the table in README."""
    yield ("penalty", "", "learned", "beside x", "mask", "joins the loss")
    yield ("---",) * 6
    yield from ((f"`{name}`", f"`{formula(kind)}`", *_traits(kind)) for name, kind in sorted(kinds.items()))


def _traits(kind: type[Penalty]) -> tuple[str, str, str, str]:
    inputs = ", ".join(next(kind.examples()).spec.inputs())
    mask, joins = "yes" if kind.maskable else "", "multiplied" if kind.coupled else "added"
    return ", ".join(_learned(kind)), inputs, mask, joins


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="regcore", description=__doc__)
    parser.add_argument("--version", action="version", version=regcore.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the table of penalties, and the presets")
    listing.add_argument("--markdown", action="store_true", help="the table alone, as README has it")
    show = commands.add_parser("show", help="all about one penalty or preset")
    show.add_argument("name", help="its name, as `regcore list` prints it")
    get = commands.add_parser("get", help="the spec that a name or JSON describes, and its config")
    get.add_argument("description", help="""a name, or JSON such as '{"name": "tar", "weight": 0.5, "time_axis": 0}'""")
    commands.add_parser("conform", help="run the conformance suite; its options follow, --help among them")
    return parser


def _list(options: argparse.Namespace) -> Iterable[str]:
    own = config.own()
    if options.markdown:
        yield from (f"| {' | '.join(cells)} |" for cells in markdown(own))
        return
    rows = [("penalty", "formula", "learned", "beside x", "mask", "joins the loss", "package")]
    for name, kind in sorted(config.catalogue().items()):
        rows.append((name, formula(kind), *_traits(kind), "" if name in own else kind.__module__.split(".")[0]))
    yield from _table(rows)
    yield from ["", *(f"{alias} is {kind.__name__}" for alias, kind in config.public().items() if alias not in own), ""]
    yield from _table([("preset", "penalty", "reproduces"), *((n, _call(p), p.reproduces) for n, p in PRESETS.items())])


def _show(options: argparse.Namespace) -> Iterable[str]:
    kind, preset = presets.find(options.name)
    if preset is not None:
        yield from [f"{options.name.lower()} = {_call(preset)}", "", f"Reproduces {preset.reproduces}."]
        yield from [f"Source: {preset.source}.", ""]
    example = next(kind.examples()).spec
    yield from [kind.__name__, "", f"    {formula(kind)}", ""]
    yield from _table([("field", "expected", "default"), *_fields(kind)])
    yield from ["", f"learned parameters: {', '.join(_learned(kind)) or 'none'}"]
    yield f"inputs beside x: {', '.join(example.inputs()) or 'none'}"
    yield f"joins the loss: {'it multiplies the task loss' if kind.coupled else 'it is added'}"
    yield f"takes a mask: {'yes' if kind.maskable else 'no'}"
    yield f"a mean over equal shards equals the whole: {'yes' if kind.additive else 'no'}"
    arguments = ", ".join(
        ["x", *(["penalty.init()"] if _learned(kind) else []), *(f"{n}={n}" for n in example.inputs())]
    )
    yield from ["", f"    penalty = {kind.__module__.split('.')[0]}.{example}", f"    penalty({arguments})", ""]
    yield inspect.getdoc(kind) or "It has no docstring."


def _get(options: argparse.Namespace) -> Iterable[str]:
    text = options.description
    spec = presets.get(_parsed(text) if text.lstrip().startswith(("{", "[")) else text)
    yield from [str(spec), json.dumps(config.to_config(spec))]


def _conform(arguments: list[str]) -> int:
    if importlib.util.find_spec(SUITE) is None:
        print(f"regcore conform: the package {SUITE} is not here; it comes with regcore-array", file=sys.stderr)
        return 2
    return subprocess.run([sys.executable, "-m", SUITE, *arguments]).returncode


_COMMANDS = {"list": _list, "show": _show, "get": _get}


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no JSON ({error}); write names and texts in double quotes") from None


def _learned(kind: type[Penalty]) -> Iterable[str]:
    return list(next(kind.examples()).spec.shapes())


def _fields(kind: type[Penalty]) -> Iterable[tuple[str, str, str]]:
    hints = annotations.of(kind)
    for field in dataclasses.fields(kind):
        default = "required" if field.default is dataclasses.MISSING else repr(field.default)
        yield field.name, annotations.text(hints[field.name]), default


def _call(preset: Preset) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in preset.fields.items())
    return f"{preset.weight} * {preset.kind}({fields})"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
