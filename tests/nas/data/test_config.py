import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from nas.data.config import AugmentConfig, Cifar10Config, DataConfig
from nas.data.registry import LOADERS, names
from search_spaces.errors import InputError

ADAPTER = TypeAdapter(DataConfig)


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    config = ADAPTER.validate_python({"type": "cifar10", "path": "~/data"})
    assert isinstance(config, Cifar10Config)
    assert config.path == Path("/somewhere/data")


def test_how_a_file_is_read_is_told_without_where_it_lies():
    keys = {"type": "image_folder", "path": "/tmp", "size": 32, "augment": {"flip": True}}
    config = ADAPTER.validate_python(keys)
    assert config.reading() == {"type": "image_folder", "size": 32, "channels": None}


def test_unknown_home_is_an_error_of_the_path():
    with pytest.raises(ValidationError, match="no such home folder"):
        ADAPTER.validate_python({"type": "cifar10", "path": "~no-such-user-here/data"})


@pytest.mark.parametrize(
    "keys",
    [
        {"type": "digits", "path": "/tmp"},
        {"type": "digits", "validation": 0},
        {"type": "digits", "validation": 0.9},
        {"type": "digits", "augment": {"crop_padding": -1}},
        {"type": "digits", "augment": {"mirror": True}},
        {"type": "cifar10"},
        {"type": "image_folder", "path": "/tmp", "channels": 2},
        {"type": "imagenet"},
    ],
)
def test_wrong_keys_are_refused(keys):
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(keys)


def test_each_type_has_a_loader():
    schema = ADAPTER.json_schema()
    assert sorted(schema["discriminator"]["mapping"]) == names()
    assert all(callable(LOADERS.find(name)) for name in names())


def test_an_unknown_loader_gets_a_suggestion():
    with pytest.raises(InputError, match=r"'fashion-mnist'; did you mean 'fashion_mnist'\?"):
        LOADERS.find("fashion-mnist")
    with pytest.raises(InputError, match="there are: audio_folder, cifar10, digits"):
        LOADERS.find("zzz")


def test_augment_config_is_hashable():
    assert len({AugmentConfig(flip=True), AugmentConfig(flip=True), AugmentConfig()}) == 2


def test_config_imports_only_pydantic():
    code = (
        "import sys, nas.data.config;"
        "print(*{'numpy', 'jax', 'PIL', 'pyarrow', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
