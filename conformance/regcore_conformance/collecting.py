"""What the processes of a run hand over becomes verdicts: at once, or when the references are all there."""

from collections.abc import Iterable
from typing import Any

from . import steps
from .cases import Case
from .evaluating import Cell
from .progress import Progress
from .streaming import Ended, Finished, Plan, References, Started
from .truths import Truth, key, known
from .verdicts import Verdict, verdict
from .worker import Outcome


class Collected:
    """The verdicts of a run so far. `computed` are the cases whose references are being computed in it."""

    def __init__(self, cases: Iterable[Case], computed: Iterable[str], progress: Progress) -> None:
        self.progress = progress
        self.truths: dict[str, Truth | str] = {"step": steps.truth()}
        self._cases = {case.id: case for case in cases}
        self._computed = {*computed}
        self.verdicts: list[Verdict] = []
        self.descriptions: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self._waiting: list[tuple[str, Cell]] = []

    def take(self, message: Any) -> str:
        """One message, or None; what comes back is a line about the process that it ends, or ""."""
        match message:
            case Plan(name, description, ways):
                self.descriptions[name] = description
                self.progress.plan(name, ways)
            case Outcome():
                self._outcome(message)
            case References(truths=truths):
                self.truths |= truths
            case Ended(name, seconds) if name in self.progress.state:
                self.seconds[name] = seconds
                self.progress.end(name)
            case Started(names):
                self.progress.start(names)
            case Finished(names, seconds):
                self.progress.ended += 1
                for name in names:  # those of a crash had not ended
                    self.progress.end(name)
                return f"{self.progress.ended}/{self.progress.jobs}  {' and '.join(names)}  {seconds:.0f} s"
        return ""

    def judge_what_waits(self) -> None:
        self.progress.waits_no_more()
        self._computed = set()
        for name, cell in self._waiting:
            self._cell(name, cell)
        self._waiting = []

    def _outcome(self, outcome: Outcome) -> None:
        self.descriptions.setdefault(outcome.name, outcome.description)
        if outcome.not_run:
            self._add(Verdict(outcome.name, "", "", "", "not run", outcome.not_run))
        for cell in outcome.cells:
            self._cell(outcome.name, cell)

    def _cell(self, name: str, cell: Cell) -> None:
        if cell.status != "ran":
            self._add(verdict(name, cell, ""))
        elif cell.case in self._computed:
            self._waiting.append((name, cell))
            self.progress.wait(name, (cell.mode, cell.grade))
        else:
            self._add(verdict(name, cell, self._truth(cell)))

    def _truth(self, cell: Cell) -> Truth | str:
        name = key(cell.case, cell.mode)
        if name not in self.truths:
            self.truths[name] = known(self._cases[cell.case], cell.mode) or "no reference: it was not computed"
        return self.truths[name]

    def _add(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.progress.add(verdict)
