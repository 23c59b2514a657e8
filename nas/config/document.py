"""A YAML file as plain values, together with the line that each value stands on.

YAML 1.2: `1e-3` is a number and `no` is text; `<<: *name` adds the keys of another mapping that are
not given, and their line is that of the other. `--set` overrides are laid over the file, and their
values know that they came from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from search_spaces.errors import InputError
from search_spaces.named import did_you_mean

Location = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, order=True)
class Problem:
    """One line for the user. Problems of the file come first, by line, then those of overrides."""

    order: int
    where: str
    message: str

    def __str__(self) -> str:
        """`demo.yaml:5: search.popluation: unknown key …`."""
        return f"{self.where}: {self.message}"


@dataclass
class Document:
    """The values of an experiment file and where each of them was written.

    Args:
        path: the file, as the user gave it.
        value: mappings, lists and scalars; None where the file can't be read as YAML.
        places: line in the file (from 1), or minus the number of the override (from 1).
        overrides: the `--set` texts.
        problems: what is wrong with the YAML itself, e.g. a key given twice.
    """

    path: Path
    value: Any = None
    places: dict[Location, int] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    problems: list[Problem] = field(default_factory=list)

    def problem(self, location: Location, message: str) -> Problem:
        """A problem of the value at `location`, or of the closest thing around it that exists."""
        while location and location not in self.places:
            location = location[:-1]
        place = self.places.get(location, 1)
        if place < 0:
            return Problem(2**31 - place, f"--set {self.overrides[-place - 1]}", message)
        return Problem(place, f"{self.path}:{place}", message)


def read(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read the file and lay the overrides (`a.b=c`) over it.

    Raises:
        InputError: there is no such file, it is not text, or it is not YAML.
    """
    document = Document(path, overrides=overrides)
    try:
        root = _compose(_text(path))
    except YAMLError as error:
        line, message = _syntax(error)
        raise InputError(f"{path}:{line}: {message}") from None
    document.value = {} if root is None else _value(document, root, (), ())
    for number, override in enumerate(overrides, 1):
        _override(document, override, -number)
    return document


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path()
        names = [str(file) for pattern in ("*.yaml", "*.yml") for file in folder.glob(pattern)]
        raise InputError(f"{path}: no such file{did_you_mean(str(path), names)}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8 text; save it as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path}: can't be read: {(error.strerror or str(error)).lower()}"
        ) from None


def _compose(text: str) -> Node | None:
    return YAML(typ="safe", pure=True).compose(text)


def _syntax(error: YAMLError) -> tuple[int, str]:
    """Line (from 1) and wording of a syntax error."""
    if not isinstance(error, MarkedYAMLError):
        return 1, f"not valid YAML: {str(error).splitlines()[0]}"
    mark = error.problem_mark or error.context_mark
    problem = ": ".join(part for part in (error.context, error.problem) if part)
    if "'\\t'" in problem:
        problem = "a tab begins a value; YAML is indented with spaces: replace it"
    return (mark.line + 1 if mark else 1), f"not valid YAML: {problem}"


def _value(document: Document, node: Node, location: Location, above: tuple[int, ...]) -> Any:
    """Plain value of a node; notes the places of all values below it."""
    line = node.start_mark.line + 1
    document.places.setdefault(location, line)
    if id(node) in above:
        document.problems.append(document.problem(location, f"{dotted(location)}: contains itself"))
        return None
    if isinstance(node, MappingNode):
        return _mapping(document, node, location, (*above, id(node)))
    if isinstance(node, SequenceNode):
        items = enumerate(node.value)
        return [_value(document, item, (*location, i), (*above, id(node))) for i, item in items]
    try:
        return _scalar(node)
    except ValueError as error:
        document.problems.append(document.problem(location, f"{dotted(location)}: {error}"))
        return None


def _mapping(
    document: Document, node: MappingNode, location: Location, above: tuple[int, ...]
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    merged: list[MappingNode] = []
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode):
            message = f"{dotted(location)}: a key must be text"
            document.problems.append(Problem(line, f"{document.path}:{line}", message))
            continue
        if key_node.tag == f"{_TAG}merge":
            merged += _merged(document, value_node, location, line)
            continue
        key = str(key_node.value)
        inner = (*location, key)
        if key in out:
            message = f"{dotted(inner)}: key {key!r} is given twice; first on line "
            message += str(document.places[inner])
            document.problems.append(Problem(line, f"{document.path}:{line}", message))
            continue
        document.places[inner] = line
        out[key] = _value(document, value_node, inner, above)
    for other in merged:
        _merge(document, other, location, above, out)
    return out


def _merged(document: Document, node: Node, location: Location, line: int) -> list[MappingNode]:
    """The mappings that a key `<<` names."""
    nodes = node.value if isinstance(node, SequenceNode) else [node]
    found = [one for one in nodes if isinstance(one, MappingNode)]
    if len(found) < len(nodes):
        message = f"{dotted((*location, '<<'))}: takes a mapping, e.g. <<: *name, or a list of them"
        document.problems.append(Problem(line, f"{document.path}:{line}", message))
    return found


def _merge(
    document: Document,
    node: MappingNode,
    location: Location,
    above: tuple[int, ...],
    out: dict[str, Any],
) -> None:
    """Add the keys of `node` that are not there; their places are where they were written."""
    if id(node) in above:
        document.problems.append(document.problem(location, f"{dotted(location)}: contains itself"))
        return
    inner = Document(document.path, places={location: node.start_mark.line + 1})
    values = _mapping(inner, node, location, (*above, id(node)))
    document.problems += inner.problems
    new = {key: value for key, value in values.items() if key not in out}
    depth = len(location)
    places = inner.places.items()
    document.places |= {at: line for at, line in places if len(at) > depth and at[depth] in new}
    out.update(new)


def _scalar(node: Node) -> Any:
    kind = str(node.tag).removeprefix(_TAG)
    if kind in ("null", "bool", "int", "float"):
        return YAML(typ="safe", pure=True).constructor.construct_object(node)
    if kind in ("str", "timestamp"):
        return node.value
    raise ValueError(f"tag {node.tag} is not supported; write plain values")


def _override(document: Document, override: str, place: int) -> None:
    """Set one value; a `--set` that can't be followed becomes a problem of the document."""
    inner = Document(document.path)
    try:
        location, target, text = _target(document, override, place)
        root = _compose(text)
        target[location[-1]] = None if root is None else _value(inner, root, location, ())
        messages = [problem.message for problem in inner.problems]
    except YAMLError as error:
        messages = [_syntax(error)[1]]
    except ValueError as error:
        messages = [str(error)]
    else:
        for known in [k for k in document.places if k[: len(location)] == location]:
            del document.places[known]
        document.places |= dict.fromkeys([location, *inner.places], place)
    document.problems += [Problem(2**31 - place, f"--set {override}", m) for m in messages]


def _target(document: Document, override: str, place: int) -> tuple[Location, Any, str]:
    """Where an override points: its location, the mapping or list to change, the value's text."""
    dotted_key, equals, text = override.partition("=")
    keys = dotted_key.strip().split(".")
    if not equals or not all(keys):
        raise ValueError("give it as key=value, e.g. search.population=128")
    location: Location = ()
    target = document.value
    for key in keys[:-1]:
        step = _step(target, key, location)
        if isinstance(target, dict) and step not in target:
            target[step] = {}
            document.places[(*location, step)] = place
        target, location = target[step], (*location, step)
    return (*location, _step(target, keys[-1], location)), target, text


def _step(target: Any, key: str, location: Location) -> str | int:
    """The key or list index with which to go one level down."""
    if isinstance(target, dict):
        return key
    if not isinstance(target, list):
        raise ValueError(f"{dotted(location)} is {target!r}, it has no key {key!r}")
    if not key.isdecimal() or int(key) >= len(target):
        raise ValueError(
            f"{dotted(location)} is a list of {len(target)}: {key!r} is no index of it (from 0)"
        )
    return int(key)


def dotted(location: Location) -> str:
    """`objectives.0.goal`, the way `--set` takes it; the whole file is `the file`."""
    return ".".join(str(part) for part in location) or "the file"
