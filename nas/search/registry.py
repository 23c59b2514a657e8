"""The search algorithms by name: a new one is one file and one line here."""

from inspect import signature
from typing import Any

from nas.search.base import AtFullFidelity, FidelitySearch, SearchAlgorithm
from search_spaces import named
from search_spaces.space import SearchSpace

_ALGORITHMS: named.Registry[type[SearchAlgorithm]] = named.Registry(
    "search algorithm",
    {
        "auto": "nas.search.auto:Auto",
        "bananas": "nas.search.bananas:Bananas",
        "linas": "nas.search.linas:Linas",
        "local_search": "nas.search.local_search:LocalSearch",
        "mcts": "nas.search.mcts:MCTS",
        "moead": "nas.search.moead:MOEAD",
        "nsga2": "nas.search.nsga2:NSGA2",
        "nsga3": "nas.search.nsga3:NSGA3",
        "optuna": "nas.search.optuna_samplers:OptunaSearch",
        "parego": "nas.search.parego:ParEGO",
        "qehvi": "nas.search.qehvi:QEHVI",
        "random": "nas.search.random_search:RandomSearch",
        "regularised_evolution": "nas.search.regularised_evolution:RegularisedEvolution",
        "smbo": "nas.search.smbo:SMBO",
    },
)
_PARTIAL: named.Registry[type[FidelitySearch]] = named.Registry(
    "search algorithm",
    {"successive_halving": "nas.search.successive_halving:SuccessiveHalving"},
)
names = _ALGORITHMS.names
partial_names = _PARTIAL.names


def create(
    type: str,  # noqa: A002 (the key in the config)
    space: SearchSpace,
    seed: int,
    **parameters: Any,
) -> SearchAlgorithm:
    """An algorithm by name.

    Args:
        type: one of `names()`.
        space: where it searches.
        seed: of all its random choices, not negative.
        parameters: the algorithm's own, e.g. `population`.

    Raises:
        InputError: one problem a line, each `key: what is wrong`.
    """
    return named.create(_ALGORITHMS, type, {"space": space, "seed": seed}, parameters)


def create_any(
    type: str,  # noqa: A002 (the key in the config)
    space: SearchSpace,
    seed: int,
    **parameters: Any,
) -> FidelitySearch:
    """The same for evaluations that may be partial: also those of `partial_names()`.

    Raises:
        InputError: as `create`.
    """
    if type in partial_names():
        return named.create(_PARTIAL, type, {"space": space, "seed": seed}, parameters)
    return AtFullFidelity(create(type, space, seed, **parameters))


def accepts(type: str, parameter: str) -> bool:  # noqa: A002 (the key in the config)
    """Whether an algorithm has a parameter of that name, e.g. `population`."""
    return parameter in signature(_ALGORITHMS.find(type)).parameters
