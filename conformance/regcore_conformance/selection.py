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
    plain: bool = False  # by the plain formulas, without what saves time and memory

    def cases(self) -> list[Case]:
        kinds = [catalogue()[name] for name in self.penalties]
        found = [*all_cases(kinds, seed=self.seed), *edge_cases(kinds, self.seed), *long_cases(kinds, self.seed)]
        return [case._replace(plain=self.plain) for case in found if not self.ids or case.id in self.ids]
