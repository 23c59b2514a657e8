"""The predictors by name: a new one is one file and one line here."""

from pathlib import Path
from typing import Any

from predictors import storage
from predictors.base import Predictor
from search_spaces import named
from search_spaces.space import SearchSpace

_PREDICTORS: named.Registry[type[Predictor]] = named.Registry(
    "predictor",
    {
        "auto": "predictors.auto:Auto",
        "boosting": "predictors.boosting:Boosting",
        "gaussian_process": "predictors.gaussian_process:GaussianProcess",
        "graph_transformer": "predictors.graph_transformer:GraphTransformer",
        "macs": "predictors.macs:Macs",
        "mlp_ensemble": "predictors.mlp_ensemble:MLPEnsemble",
        "ridge": "predictors.ridge:Ridge",
    },
)
names = _PREDICTORS.names


def create(
    type: str,  # noqa: A002 (the key in the config)
    space: SearchSpace,
    seed: int = 0,
    **parameters: Any,
) -> Predictor:
    """A predictor by name, not fitted yet.

    Args:
        type: one of `names()`.
        space: where the architectures come from.
        seed: of all its random choices, not negative.
        parameters: the predictor's own, e.g. `macs`, `holdout`.

    Raises:
        InputError: one problem a line, each `key: what is wrong`.
    """
    return named.create(_PREDICTORS, type, {"space": space, "seed": seed}, parameters)


def load(folder: Path, space: SearchSpace, **parameters: Any) -> Predictor:
    """The fitted predictor in a folder, whatever its type.

    Args:
        folder: what `Predictor.save` wrote.
        space: the space it was fitted for.
        parameters: as for `create`; they matter to a later `fit` only, but for `macs`.

    Raises:
        InputError: files are missing, corrupt, or belong to another space.
    """
    saved_type = str(storage.read_description(folder).get("type"))
    predictor = create(saved_type, space, **parameters)
    predictor.load(folder)
    return predictor
