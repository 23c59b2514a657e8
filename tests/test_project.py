"""What holds for the project as a whole."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from search_spaces import registry

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def _imported() -> set[str]:
    """Top-level names that the packages import, at module level or inside functions.

    Whoever inherits a suite of `nas.testing` runs it under pytest and has that.
    """
    names: set[str] = set()
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES) - {"pytest"}


def test_what_is_imported_is_declared() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    lines = PROJECT["project"]["dependencies"] + extras["notebook"]
    lines += extras["peer"] + extras["peer-search"]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    # What is not installed here has the name of its distribution.
    owners = metadata.packages_distributions()
    missing = [
        name
        for name in _imported()
        if not declared & {canonicalize_name(owner) for owner in owners.get(name, [name])}
    ]
    assert missing == []


def test_files_stay_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _sources()}
    assert len(lengths) > 20
    assert [str(path) for path, length in lengths.items() if length > 400] == []


def test_no_file_is_named_after_nothing() -> None:
    names = {path.stem for path in _sources()} | {path.parent.name for path in _sources()}
    assert names & {"utils", "util", "common", "helpers", "misc"} == set()


def test_shapes_are_checked_in_tests() -> None:
    """The import hook of conftest.py is at work: a matrix is no list of matrices."""
    space = registry.create("mobilenet_v3")
    with pytest.raises(TypeCheckError):
        space.canonical(np.zeros((2, 3, 4), int))
