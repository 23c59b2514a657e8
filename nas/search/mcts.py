"""Monte-Carlo tree search over the knobs, first to last.

Negrinho & Gordon, "DeepArchitect: Automatically Designing and Training Deep Architectures", 2017,
§5.2: each knob is a level of the tree, upper confidence bounds choose the branch, what is below a
leaf is drawn at random. A reward is the rank of an architecture among all that were told.
"""

import numpy as np
from jaxtyping import Float, Int

from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told

_EXPLORE = 0.4
_ROUNDS = 8


class MCTS(HistorySearch):
    """All proposals descend at once; noise in the bounds tells them apart.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "mcts"

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Descents of the tree of what was told."""
        reward = np.empty(len(told))
        reward[told.order()] = np.linspace(1.0, 0.0, len(told))
        proposals.fill(lambda _, n: self._descend(rng, told.archs, reward, n), _ROUNDS)

    def _descend(
        self,
        rng: np.random.Generator,
        archs: Int[np.ndarray, "t k"],
        reward: Float[np.ndarray, " t"],
        n: int,
    ) -> Int[np.ndarray, "new k"]:
        out = np.zeros((n, archs.shape[1]), np.int64)
        # Number of the node that each told and each new architecture stands at; -1 is off the tree.
        told_at, new_at = np.zeros(len(archs), np.int64), np.zeros(n, np.int64)
        for knob, options in enumerate(map(int, self.space.cardinality)):
            child = told_at * options + archs[:, knob]
            size = (int(told_at.max(initial=0)) + 1) * options
            visits = np.bincount(child, minlength=size).reshape(-1, options)
            total = np.bincount(child, reward, minlength=size).reshape(-1, options)
            here = np.maximum(new_at, 0)
            seen = visits[here]
            bonus = np.sqrt(np.log1p(seen.sum(axis=1))[:, None] / np.maximum(seen, 1))
            mean = np.where(seen > 0, total[here] / np.maximum(seen, 1), 1.0)
            noise = rng.gumbel(scale=0.1, size=(n, options))
            value = mean + _EXPLORE * bonus + noise
            value = np.where((new_at >= 0)[:, None], value, noise)
            out[:, knob] = np.argmax(value, axis=1)
            # Nodes that were visited are numbered anew, without gaps.
            alive, told_at = np.unique(child, return_inverse=True)
            wanted = here * options + out[:, knob]
            at = np.minimum(np.searchsorted(alive, wanted), len(alive) - 1)
            new_at = np.where((new_at >= 0) & (alive[at] == wanted), at, -1)
        return out
