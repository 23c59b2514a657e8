"""Latency on a device of which only a few networks are measured.

Other devices' latencies say most: a linear Gaussian process on their smoothed latencies
(`smoothing`), with small terms for counts and choices of the architecture; on counts and choices
alone where there are no other devices. Latency or its logarithm, with or without the others, how
much of each and how much noise: every setting counts by its evidence on the measured networks.
Whole milliseconds are intervals. What is measured is chosen so that the least doubt is left.

Few-shot transfer to devices: HELP (Lee et al., NeurIPS 2021), MultiPredict (Akhauri and
Abdelfattah, AutoML 2023). The baseline is a ridge regression on the other devices' log latencies.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from predictors.spread_choice import v_optimal
from predictors.transfer_fit import Transferred, fit
from predictors.transfer_prior import Prior
from predictors.transfer_settings import stacked
from search_spaces.errors import InputError

LEAST = 4
# The choice of networks: features beside the sources, noise over the spread of latencies.
_COUNTED, _CHOSEN, _CHOSEN_ALONE, _NOISE = 0.1, 0.02, 0.3, 0.15
_CANDIDATES, _REFERENCE = 2000, 1000


@dataclass(frozen=True)
class Transfer(Prior):
    """Few-shot transfer: which networks to measure, and what follows from them."""

    def choose(
        self, count: int, candidates: Int[np.ndarray, " c"] | None = None, seed: int = 0
    ) -> Int[np.ndarray, " m"]:
        """Networks to measure.

        Args:
            count: how many.
            candidates: rows that may be measured; all if not given.
            seed: of the draw of candidates, where there are very many.
        """
        rng = np.random.default_rng(seed)
        rows = np.arange(len(self.sources_ms)) if candidates is None else candidates
        some = rng.choice(rows, min(_CANDIDATES, len(rows)), replace=False)
        parts = [self.sources[1], self.counted[0][1], self.chosen[0]]
        alone = not self.sources_ms.shape[1]
        factors = (0.0, 1.0, _CHOSEN_ALONE) if alone else (1.0, _COUNTED, _CHOSEN)
        pool = len(self.sources_ms)
        reference = rng.choice(pool, min(_REFERENCE, pool), replace=False)
        return v_optimal(stacked(parts, factors), some, reference, count, _NOISE**2)

    def fit(
        self, rows: Int[np.ndarray, " m"], latency_ms: Float[np.ndarray, " m"]
    ) -> "Transferred":
        """Learn from the measured networks.

        Args:
            rows: which networks they are.
            latency_ms: measured on the new device.

        Raises:
            InputError: too few measurements, or such that are no latencies.
        """
        latency_ms = np.asarray(latency_ms, np.float64)
        problems = []
        if len(rows) != len(latency_ms):
            problems.append(f"measurements: {len(latency_ms)} for {len(rows)} networks")
        if len(np.unique(rows)) < LEAST:
            problems.append(f"measurements: a transfer needs {LEAST} distinct networks or more")
        if not np.all(np.isfinite(latency_ms) & (latency_ms > 0)):
            problems.append("measurements: latencies must be positive and finite")
        if problems:
            raise InputError(problems)
        return fit(self, rows, latency_ms)
