"""What the tests of the loaders share: reading a `data:` part and the one line of its error."""

from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from nas.data.config import DataConfig
from nas.data.dataset import Dataset
from nas.data.registry import load
from search_spaces.errors import InputError


@pytest.fixture
def read() -> Callable[..., Dataset]:
    def read(seed: int = 0, **keys: object) -> Dataset:
        return load(TypeAdapter(DataConfig).validate_python(keys), seed)

    return read


@pytest.fixture
def problem(read) -> Callable[..., str]:
    """The one line that a wrong `data:` part ends in; `test=True` reads the test set too."""

    def problem(test: bool = False, **keys: object) -> str:
        def attempt() -> None:
            dataset = read(**keys)
            if test:
                dataset.load_test()

        with pytest.raises(InputError) as caught:
            attempt()
        (line,) = caught.value.problems
        assert "\n" not in line
        return line

    return problem
