"""The formats by name: a new one is one file and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from nas.export.card import Network
from nas.export.numerics import Accuracy, Images, Numerics, Samples
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
        accuracy: of the file on the test set.
        latency: as the card has it, by device.
    """

    target: str
    folder: Path
    model: Path
    card: Path
    model_bytes: int
    numerics: Numerics
    accuracy: Accuracy
    latency: Mapping[str, Mapping[str, Any]]


@runtime_checkable
class Exporter(Protocol):
    """Writes a network to a new folder and verifies it before it returns."""

    def __call__(
        self,
        network: Network,
        folder: Path,
        *,
        samples: Samples,
        reference: Callable[[Images], Any],
        tolerance: float = ...,
        **options: Any,
    ) -> ExportReport: ...


_TARGETS: Registry[Exporter] = Registry(
    "export format",
    {
        "onnx": "nas.export.onnx:export_onnx",
        "onnx-int8": "nas.export.onnx_int8:export_onnx_int8",
        "c": "nas.export.c:export_c",
        "tflite": "nas.export.tflite:export_tflite",
    },
)
names = _TARGETS.names


def exporter(target: str) -> Exporter:
    """The exporter of a format.

    Raises:
        InputError: there is no such format.
    """
    return _TARGETS.find(target)


def dtype(target: str) -> Literal["float32", "int8"]:
    """Element type in which the files of a format compute."""
    return "float32" if target == "onnx" else "int8"


def runs_on(kind: str, target: str) -> bool:
    """Whether devices of a kind run the files of a format."""
    kinds = {"c": ("mcu",), "tflite": ("mcu", "npu")}
    if target in kinds:
        return kind in kinds[target]
    return kind not in ("mcu", "npu")
