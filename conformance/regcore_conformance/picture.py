"""The matrix of a run that goes on, as lines of text: in as much detail as the terminal has room for."""

import collections
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .progress import Progress, Tally

Key = tuple[str, ...]

LEGEND = "error/bound, at most 1  % done  - not run  n/a unsupported  ref: waits for references  =f16: exact"


class Text(NamedTuple):
    """A piece of a line, and one of `live.COLOURS`."""

    text: str
    colour: str = ""


class Layout(NamedTuple):
    """What has a row and what has a column of its own: both take (backend, mode, grade)."""

    row: Callable[[str, str, str], Key]
    column: Callable[[str, str, str], Key]


LAYOUTS = (  # the first that fits is taken
    Layout(lambda backend, mode, grade: (backend,), lambda backend, mode, grade: (mode, grade)),
    Layout(lambda backend, mode, grade: (backend, mode), lambda backend, mode, grade: ("", grade)),
    Layout(lambda backend, mode, grade: (backend,), lambda backend, mode, grade: ("", grade)),
    Layout(lambda backend, mode, grade: (backend,), lambda backend, mode, grade: ("", "all")),
)


def picture(progress: Progress, seconds: float, width: int, height: int) -> list[list[Text]]:
    """The lines of the matrix, in as much detail as there is room for, and one that says how far the run is."""
    last = [Text(_clipped(_status(progress, seconds), width), "head")]
    for layout in LAYOUTS:
        lines = _matrix(progress, layout, width)
        if len(lines) + 3 <= height and all(sum(len(part.text) for part in line) < width for line in lines):
            return [*lines, [Text(_clipped(LEGEND, width), "faint")], last]
    return [last]


def _matrix(progress: Progress, layout: Layout, width: int) -> list[list[Text]]:
    table: dict[Key, dict[Key, Tally]] = {}
    for name, ways in progress.ways.items():
        for way in ways or [("", "")]:
            row = table.setdefault(layout.row(name, *way), {})
            if ways:
                row[layout.column(name, *way)] = row.get(layout.column(name, *way), Tally(0)).plus(ways[way])
    columns = _columns(table.values())
    label = 2 + max(len(" ".join(row)) for row in table)
    lines = _head(columns, label)
    for row, cells in table.items():
        start = Text(" ".join(row).ljust(label))
        if not cells:
            lines.append([start, Text(_clipped(_without_cells(progress.state[row[0]]), width - label), "faint")])
            continue
        lines.append([start, *(_padded(_shown(cells.get(key)), _wide(key)) for key in columns)])
    return lines


def _columns(rows: Iterable[dict[Key, Tally]]) -> list[Key]:
    """All columns; those of one mode stand together."""
    found = list(dict.fromkeys(key for row in rows for key in row))
    modes = list(dict.fromkeys(mode for mode, _ in found))
    return sorted(found, key=lambda key: modes.index(key[0]))


def _head(columns: list[Key], label: int) -> list[list[Text]]:
    """A line with modes, where columns have one, and a line with grades."""
    wide = collections.Counter[str]()
    for key in columns:
        wide[key[0]] += _wide(key)
    modes = [Text(" " * label), *(Text(mode[: wide[mode] - 1].ljust(wide[mode]), "head") for mode in wide)]
    grades = [Text(" " * label), *(Text(_short(key[1]).ljust(_wide(key)), "faint") for key in columns)]
    return [modes, grades] if any(wide) else [grades]


def _shown(tally: Tally | None) -> Text:
    """What a cell of the matrix says."""
    if tally is None or tally.all == 0:  # no cell of this mode has this grade
        return Text("")
    if tally.wrong:
        return Text("FAIL", "bad")
    if tally.done < tally.all:
        return Text(f"{100 * tally.done // tally.all}%", "busy")
    if tally.waiting:
        return Text("ref", "late")
    if tally.worst is not None:
        return Text(f"{tally.worst:.2f}", "good")
    if tally.counts["xfail"]:
        return Text("xfail", "late")
    return Text("n/a" if tally.counts["unsupported"] == tally.all else "-", "faint")


def _status(progress: Progress, seconds: float) -> str:
    tallies = progress.tallies()
    done, known = sum(tally.done for tally in tallies), sum(tally.all for tally in tallies)
    more = "+" if "to come" in progress.state.values() else ""  # of backends that have not said what they have
    wrong = sum(tally.wrong for tally in tallies)
    parts = [
        f"{int(seconds) // 60}:{int(seconds) % 60:02}",
        f"{done:,} of {known:,}{more} cells",
        f"{progress.ended} of {progress.jobs} processes",
        *([f"{wrong:,} FAILED"] if wrong else []),
    ]
    return "   ".join(parts)


def _without_cells(state: str) -> str:
    return {"to come": "", "running": "starts", "done": "no cells"}.get(state, f"not run: {state}")


def _short(grade: str) -> str:
    return grade.replace("float", "f").replace("exact ", "=")


def _wide(key: Key) -> int:
    return 2 + max(5, len(_short(key[1])))


def _padded(text: Text, width: int) -> Text:
    return Text(text.text.ljust(width), text.colour)


def _clipped(text: str, width: int) -> str:
    return text if len(text) < width else text[: max(0, width - 4)] + "..."
