"""The predictors by name: a new one is one file and one line here."""

from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from predictors import storage
from predictors.base import Predictor
from search_spaces.errors import InputError
from search_spaces.space import SearchSpace

_PREDICTORS = {
    "macs": "predictors.macs:Macs",
    "mlp_ensemble": "predictors.mlp_ensemble:MLPEnsemble",
    "ridge": "predictors.ridge:Ridge",
}


def names() -> list[str]:
    """Names of all predictors."""
    return sorted(_PREDICTORS)


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
    if type not in _PREDICTORS:
        raise InputError(f"type: unknown predictor {type!r}; {_hint(type, names())}")
    module, _, attribute = _PREDICTORS[type].partition(":")
    predictor = getattr(import_module(module), attribute)
    known = [name for name in signature(predictor).parameters if name not in ("space", "seed")]
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise InputError(
            [f"{n}: unknown key {n!r} of predictor {type!r}; {_hint(n, known)}" for n in unknown]
        )
    return predictor(space, seed, **parameters)


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


def _hint(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
