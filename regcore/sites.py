"""Which penalties apply where: globs over dotted paths of sites."""

import difflib
import functools
import operator
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .penalty import Penalty

WEIGHT = "weight:"  # before the glob of a rule for weights, and before the path of a weight

Rule = TypeVar("Rule")  # a penalty, or whatever else a glob selects


def match(rules: Mapping[str, Rule], path: str) -> list[Rule]:
    """The penalties whose glob matches `path`, in the order of the rules.

    In a glob `*` is any text within one component of the path, and `**` any number of components, none included.

    >>> rules = {"encoder.*": L2(), "**.lstm": TAR()}
    >>> print(*match(rules, "encoder.lstm"))
    L2() TAR()
    >>> match(rules, "encoder.0.conv")
    []
    """
    return [spec for glob, spec in rules.items() if _pattern(glob).fullmatch(path)]


def select(rules: Mapping[str, Rule], paths: Iterable[str]) -> dict[str, list[Rule]]:
    """The penalties for each path that some glob matches. ValueError for a glob that matches none of the paths.

    >>> select({"encoder.*": L2()}, ["encoder.0", "decoder.0"]) == {"encoder.0": [L2()]}
    True
    """
    paths = list(paths)
    for glob in rules:
        if not any(_pattern(glob).fullmatch(path) for path in paths):
            near = difflib.get_close_matches(glob, paths, n=5, cutoff=0.3) or paths[:5]
            raise ValueError(
                f"{glob!r} matches none of the {len(paths)} sites, so its rule would be lost; "
                f"* is one component of a path and ** any number. Sites like it: {near}"
            )
    return {path: specs for path in paths if (specs := match(rules, path))}


def choose(rules: "Mapping[str, Penalty]", paths: Iterable[str]) -> "dict[str, Penalty]":
    """The sum of the penalties for each path that some glob matches. ValueError for a glob that matches none.

    >>> print(*choose({"rnn": L2(), "*": L1()}, ["rnn", "head"]).values())
    Sum(parts=(L2(), L1())) L1()
    """
    return {path: functools.reduce(operator.add, specs) for path, specs in select(rules, paths).items()}


def split(rules: "Mapping[str, Penalty]") -> "tuple[dict[str, Penalty], dict[str, Penalty]]":
    """The rules for what modules give out, and those for weights, without their prefix.

    Raises ValueError for a penalty of every k-th step that is not for weights.

    >>> split({"rnn": L2(), "weight:rnn.*": L1()}) == ({"rnn": L2()}, {"rnn.*": L1()})
    True
    """
    weights = {glob.removeprefix(WEIGHT): rule for glob, rule in rules.items() if glob.startswith(WEIGHT)}
    others = {glob: rule for glob, rule in rules.items() if not glob.startswith(WEIGHT)}
    for glob, rule in others.items():
        if any(term.every > 1 for term in rule.terms()):
            raise ValueError(f"the rule {glob!r} counts on some steps only; that is for weights: {WEIGHT}{glob}")
    return others, weights


@functools.cache
def _pattern(glob: str) -> re.Pattern[str]:
    pattern = ""
    for part in re.split(r"(\*\*\.|\.\*\*|\*\*|\*)", glob):
        pattern += {"**.": r"(?:.*\.)?", ".**": r"(?:\..*)?", "**": ".*", "*": r"[^.]*"}.get(part, re.escape(part))
    return re.compile(pattern)
