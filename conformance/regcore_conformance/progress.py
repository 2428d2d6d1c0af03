"""How far a run is, in numbers: what each mode and grade of each backend has come to."""

import collections
from collections.abc import Iterable, Mapping

from .verdicts import Verdict

Way = tuple[str, str]  # mode and grade


class Tally:
    """The cells of one mode and grade of one backend so far, by status; `all` are those that it may come to."""

    def __init__(self, all: int) -> None:
        self.all = all
        self.counts: collections.Counter[str] = collections.Counter()
        self.waiting = 0  # for references
        self.worst: float | None = None

    def add(self, verdict: Verdict) -> None:
        self.counts[verdict.status] += 1
        if verdict.ratio is not None:
            self.worst = max(self.worst or 0.0, verdict.ratio)

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        both = Tally(self.all + other.all)
        both.counts, both.waiting = self.counts + other.counts, self.waiting + other.waiting
        both.worst = max((worst for worst in (self.worst, other.worst) if worst is not None), default=None)
        return both

    @property
    def done(self) -> int:
        return self.counts.total() + self.waiting

    @property
    def wrong(self) -> int:
        return self.counts["fail"] + self.counts["error"]


class Progress:
    """How far a run is. The backends are in `state`: "to come", "running", "done", or the reason why one is not run."""

    def __init__(self, names: Iterable[str], *, jobs: int) -> None:
        self.state = dict.fromkeys(names, "to come")
        self.ways: dict[str, dict[Way, Tally]] = {name: {} for name in self.state}
        self.jobs, self.ended = jobs, 0

    def start(self, names: Iterable[str]) -> None:
        """Their process is there, and imports what the first of them needs."""
        self.state |= {name: "running" for name in [*names][:1] if name in self.state}

    def plan(self, name: str, ways: Mapping[Way, int]) -> None:
        """It has started, and is to have so many cells in each of these ways."""
        self.state[name] = "running"
        self.ways[name] = {way: Tally(cells) for way, cells in ways.items()}

    def add(self, verdict: Verdict) -> None:
        if verdict.case:
            self._tally(verdict.backend, (verdict.mode, verdict.grade)).add(verdict)
        else:
            self.state[verdict.backend] = verdict.detail

    def wait(self, name: str, way: Way) -> None:
        """One more cell that ran and cannot be judged before its reference is there."""
        self._tally(name, way).waiting += 1

    def waits_no_more(self) -> None:
        for tally in self.tallies():
            tally.waiting = 0

    def end(self, name: str) -> None:
        if self.state.get(name) in ("to come", "running"):
            self.state[name] = "done"
            for tally in self.ways[name].values():
                tally.all = tally.done

    def tallies(self) -> list[Tally]:
        return [tally for ways in self.ways.values() for tally in ways.values()]

    def _tally(self, name: str, way: Way) -> Tally:
        return self.ways[name].setdefault(way, Tally(1))
