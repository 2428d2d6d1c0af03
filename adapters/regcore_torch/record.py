"""What happened to every term: how often it fired, what it was last, whether backward came to it."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from regcore.report import Report

from .groups import Row
from .layer import Regularize


class Record:
    """Of the terms `<site>/<term>` at some sites."""

    def __init__(self, sites: Mapping[str, Regularize], backward_came: Callable[[], None]) -> None:
        self.names = {f"{path}/{term.name}": (path, term.name) for path, site in sites.items() for term in site.terms}
        self.last: dict[str, Tensor] = {}
        self._sites, self._backward_came = sites, backward_came
        self._fired = dict.fromkeys(self.names, 0)
        self._expected: set[str] = set()  # what the last loss had, and of it to which backward came:
        self._reached: set[str] = set()
        for path, site in sites.items():
            site.seen = functools.partial(self._saw, self._of([path]))

    def __getstate__(self) -> dict[str, Any]:
        """A copy knows nothing of graphs."""
        return {**self.__dict__, "last": {}}

    def expect(self, paths: Iterable[str], rows: Iterable[Row] = ()) -> None:
        """A loss has the terms of these sites, and these rows; backward has not come to them yet."""
        self._expected = self._of(paths) | {f"{path}/{row.term.name}" for row in rows for path in row.paths}
        self._reached -= self._expected

    def note(self, row: Row) -> None:
        """A term of the loss, at all its sites."""
        names = [f"{path}/{row.term.name}" for path in row.paths]
        values = row.values.detach()
        self.last.update(zip(names, values.unbind() if values.ndim else (values,), strict=True))
        for name in names:
            self._fired[name] += row.calls
        if row.values.requires_grad and not torch.compiler.is_compiling():
            row.values.register_hook(functools.partial(self._saw, set(names)))

    def unreached(self) -> set[str]:
        """The terms of the last loss to which backward did not come."""
        self._count()
        return self._expected - self._reached

    def report(self) -> dict[str, Report]:
        self._count()
        return {
            name: Report(
                fired=self._fired[name],
                value=float(self.last[name]) if name in self.last else None,
                coefficient=float(self._sites[path].coefficient(term)),
                reached=name in self._reached,
            )
            for name, (path, term) in self.names.items()
        }

    def _of(self, paths: Iterable[str]) -> set[str]:
        return {f"{path}/{term.name}" for path in paths for term in self._sites[path].terms}

    def _saw(self, names: set[str], gradient: Tensor | None = None) -> None:
        self._reached |= names
        self._backward_came()

    def _count(self) -> None:
        """What compiled code attached has left its trace in a counter alone."""
        for path, site in self._sites.items():
            if site.counter.grad is not None:
                site.counter.grad = None
                for name in self._of([path]):
                    self._fired[name] += 1
                self._saw(self._of([path]))
