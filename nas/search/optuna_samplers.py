"""Optuna's samplers as search algorithms: TPE, Gaussian processes, NSGA-III.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; Akiba et al., "Optuna:
A Next-generation Hyperparameter Optimization Framework", KDD 2019.
"""

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.search.base import State
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.errors import InputError
from search_spaces.named import hint
from search_spaces.space import Archs, SearchSpace

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SAMPLERS = ("tpe", "gp", "nsga3")
# Asks of the sampler for each architecture that is wanted, and in one proposal, as each takes tens
# of milliseconds. What is still missing is drawn at random.
_TRIES = 3
_MOST_ASKS = 50
_POPULATION = 50


class OptunaSearch(HistorySearch):
    """Optuna asks for knobs, all of them at once.

    A study is made anew from what was told for every proposal, its sampler seeded by the number of
    tells: a study in use could not be resumed to the same proposals. TPE is told the knobs that an
    architecture reads; the others need the same knobs in all trials and are told its canonical
    form.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        sampler: `tpe`, `gp` (needs PyTorch) or `nsga3`.

    Raises:
        InputError: an unknown sampler, or one whose library is not installed.
    """

    algorithm = "optuna"

    def __init__(self, space: SearchSpace, seed: int, *, sampler: str = "tpe") -> None:
        if sampler not in SAMPLERS:
            raise InputError(f"sampler: unknown sampler {sampler!r}; {hint(sampler, SAMPLERS)}")
        if sampler == "gp" and find_spec("torch") is None:
            raise InputError(
                "sampler: Optuna's gp needs PyTorch: pip install torch, or take another sampler "
                "(search.type auto has Gaussian processes of its own)"
            )
        super().__init__(space, seed)
        self.sampler = sampler

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """What the sampler asks for; an architecture that is known stays pending in the study, so
        that the next one differs.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            directions=["minimize"] * told.F.shape[1], sampler=self._sampler(rng)
        )
        study.add_trials(self._trials(told))
        distributions = self._distributions()

        def ask(_: int, missing: int) -> Archs:
            n = min(missing, _MOST_ASKS - len(study.get_trials(deepcopy=False)) + len(told))
            asked = [study.ask(distributions).params for _ in range(n)]
            rows = [[trial[name] for name in distributions] for trial in asked]
            return np.array(rows, np.int64).reshape(n, len(distributions))

        proposals.fill(ask, _TRIES)

    def _sampler(self, rng: np.random.Generator) -> "BaseSampler":
        from optuna import samplers

        seed = int(rng.integers(2**32))
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
        if self.sampler == "nsga3":
            with warnings.catch_warnings():
                # Optuna calls it experimental.
                warnings.simplefilter("ignore")
                return samplers.NSGAIIISampler(seed=seed, population_size=_POPULATION)
        return samplers.TPESampler(seed=seed)

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            knob.name: IntDistribution(0, len(knob.options) - 1)
            if knob.ordered
            else CategoricalDistribution(range(len(knob.options)))
            for knob in self.space.knobs
        }

    def _trials(self, told: Told) -> "list[FrozenTrial]":
        """Everything told, as finished trials in generations of Optuna's genetic search."""
        from optuna.samplers import NSGAIIISampler
        from optuna.trial import create_trial

        distributions = self._distributions()
        read = self.space.active(told.archs)
        if self.sampler != "tpe":
            read = np.ones_like(read)
        generation = NSGAIIISampler._get_generation_key()
        trials = []
        for row, (arch, F, G) in enumerate(zip(told.archs, told.F, told.G, strict=True)):
            params = {
                name: int(entry)
                for name, entry, known in zip(distributions, arch, read[row], strict=True)
                if known
            }
            trials.append(
                create_trial(
                    values=F.tolist(),
                    params=params,
                    distributions={name: distributions[name] for name in params},
                    constraints={str(i): float(g) for i, g in enumerate(G)},
                    system_attrs={generation: row // _POPULATION},
                )
            )
        return trials

    def _identity(self) -> State:
        return super()._identity() | {"sampler": self.sampler}
