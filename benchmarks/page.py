"""The tables of a page are made from the files that it names: `<!-- from results/FILE -->` to `<!-- end -->`."""

import json
import re
from pathlib import Path

from . import accuracy, scaling, table

MARKED = re.compile(r"(<!-- from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
KINDS = {"rows": table.tables, "curves": scaling.tables, "sums": accuracy.tables}


def filled(text: str, folder: Path) -> str:
    """The text of a page in that folder, every table made anew."""
    return MARKED.sub(lambda found: f"{found[1]}\n{_tables(folder / found[2])}\n\n{found[3]}", text)


def _tables(path: Path) -> str:
    if not path.exists():
        return "Not run."
    results = json.loads(path.read_text(encoding="utf-8"))
    kind = next(kind for kind in KINDS if kind in results)
    return KINDS[kind](results)
