from collections.abc import Callable, Mapping

import pytest

from search_spaces.registry import create
from search_spaces.space import SearchSpace

_ARGUMENTS: Mapping[str, Mapping[str, object]] = {
    "mobilenet_v3": {
        "resolution": (12, 16),
        "widths": (8, 12),
        "strides": (2, 2),
        "hswish": (False, True),
        "squeeze_excite": (False, True),
        "depth": (1, 2),
        "expand": (2, 3),
        "head": (24, 32),
        "classes": 10,
    },
    "resnet": {
        "resolution": (16,),
        "classes": 10,
        "stem": 8,
        "stem_strides": (2, 1),
        "widths": (16, 24),
        "strides": (1, 2),
        "base_depth": (1, 1),
        "expand": (0.5, 1.0),
    },
    "nasbench_macro": {"resolution": (16,), "widths": (8, 12, 16), "stem": 8, "head": 24},
}


@pytest.fixture
def small_space() -> Callable[[str], SearchSpace]:
    """Spaces by name whose networks run in the emulator in no time."""
    return lambda name: create(name, **_ARGUMENTS[name])
