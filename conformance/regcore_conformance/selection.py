"""What a run is of."""

from typing import NamedTuple

from regcore.config import catalogue

from .cases import Case, all_cases
from .edges import edge_cases
from .long import long_cases


class Selection(NamedTuple):
    """Which cases of a run: of some penalties or of all, some of these by id, with the data of a seed."""

    penalties: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    seed: int = 0
    depth: str = "default"

    def cases(self) -> list[Case]:
        kinds = [catalogue()[name] for name in self.penalties]
        found = [*all_cases(kinds, seed=self.seed), *edge_cases(kinds, self.seed), *long_cases(kinds, self.seed)]
        return [case for case in found if not self.ids or case.id in self.ids]
