from collections.abc import Callable
from pathlib import Path

import pytest

from nas.config import load
from search_spaces.errors import InputError

GOOD = """\
name: demo
space: {type: mobilenet_v3, resolution: [24, 28, 32], classes: 10}
data: {type: cifar10, path: data/cifar10}
supernet:
  epochs: 5
  learning_rate: 1e-3
devices: [cpu]
objectives:
  - {metric: accuracy}
  - {metric: latency_ms, device: cpu}
search:
  population: 16
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes an experiment file `demo.yaml` in the current folder, and gives its path."""
    monkeypatch.chdir(tmp_path)

    def _write(text: str = GOOD) -> Path:
        path = Path("demo.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.fixture
def problems(write: Callable[[str], Path]) -> Callable[..., list[str]]:
    """The problems of a good file in which `old` became `new`, loaded with overrides."""

    def _problems(old: str = "", new: str = "", *overrides: str) -> list[str]:
        assert old in GOOD
        with pytest.raises(InputError) as caught:
            load(write(GOOD.replace(old, new, 1) if old else GOOD + new), overrides)
        return caught.value.problems

    return _problems
