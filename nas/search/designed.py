"""The base of searches that begin with a design and go on with what models think promising."""

import numpy as np

from nas.search.candidates import Candidates, design_size
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.space import Archs, SearchSpace


class DesignedSearch(HistorySearch):
    """Base of algorithms whose first proposals are far from each other.

    A subclass gives `algorithm` and `go_on`; `candidates` are where its models look.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        start: architectures of the design; by default 10, or half the knobs if these are more.
    """

    modelled = True

    def __init__(self, space: SearchSpace, seed: int, *, start: int | None = None) -> None:
        super().__init__(space, seed)
        self.first_fit = start or design_size(space)
        self.candidates = Candidates(space, self.seen, self.models)

    def go_on(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """`propose`, once the design was evaluated."""
        raise NotImplementedError

    def restrict(self, archs: Archs) -> None:
        """See `Restrictable`."""
        super().restrict(archs)
        self.candidates.forget()

    def start(self, rng: np.random.Generator, proposals: Proposals) -> None:  # noqa: ARG002
        """The design."""
        self._fill_with_design(proposals, self.first_fit)

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """What is left of the design, then by the models."""
        if len(self.seen) < self.first_fit:
            self._fill_with_design(proposals, self.first_fit - len(self.seen))
        else:
            self.go_on(rng, told, proposals)

    def _fill_with_design(self, proposals: Proposals, n: int) -> None:
        design = self.candidates.design(self.first_fit, self.seed)
        proposals.fill(lambda _, __: design, 1, n=n)
