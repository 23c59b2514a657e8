from collections.abc import Callable
from dataclasses import dataclass

import pytest

from nas.cli import main


@dataclass(frozen=True)
class Result:
    code: int | str | None
    out: str
    err: str


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a `nas` command line in this process."""

    def _nas(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        out, err = capsys.readouterr()
        return Result(stopped.value.code, out, err)

    return _nas
