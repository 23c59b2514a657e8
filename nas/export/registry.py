"""The formats by name: a new one is one file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nas.export.card import Network
from nas.export.numerics import TOLERANCE, Images, Numerics
from search_spaces.errors import InputError

_TARGETS = {
    "onnx": "nas.export.onnx:export_onnx",
}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, and how well it agrees with the searched network.

    Args:
        target: the format's name.
        folder: where everything is.
        model: the network's file.
        card: its description (`card.json`).
        model_bytes: size of the network's file.
        numerics: the comparison that it passed.
    """

    target: str
    folder: Path
    model: Path
    card: Path
    model_bytes: int
    numerics: Numerics


@runtime_checkable
class Exporter(Protocol):
    """Writes a network to a new folder and verifies it before it returns."""

    def __call__(
        self,
        network: Network,
        folder: Path,
        *,
        images: Images,
        reference: Callable[[Images], Any],
        tolerance: float = TOLERANCE,
    ) -> ExportReport: ...


def names() -> list[str]:
    """Names of all formats."""
    return sorted(_TARGETS)


def exporter(target: str) -> Exporter:
    """The exporter of a format.

    Raises:
        InputError: there is no such format.
    """
    if target not in _TARGETS:
        close = get_close_matches(target, _TARGETS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names())}"
        raise InputError(f"unknown export format {target!r}; {hint}")
    module, _, attribute = _TARGETS[target].partition(":")
    return getattr(import_module(module), attribute)
