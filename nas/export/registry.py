"""The formats by name: a new one is one file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nas.export.card import Network
from nas.export.numerics import TOLERANCE, Images, Numerics
from search_spaces.named import Registry


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


_TARGETS: Registry[Exporter] = Registry("export format", {"onnx": "nas.export.onnx:export_onnx"})
names = _TARGETS.names


def exporter(target: str) -> Exporter:
    """The exporter of a format.

    Raises:
        InputError: there is no such format.
    """
    return _TARGETS.find(target)
