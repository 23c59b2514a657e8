"""From a YAML file to a checked experiment, and back."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from hw_profiles.device import load_device
from nas.config.document import Document, Problem, dotted, read
from nas.config.problems import explain
from nas.config.schema import Experiment, SpaceConfig, device_problems
from search_spaces.errors import InputError


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment and check all of it: keys, values, the space, the devices.

    Args:
        path: the YAML file.
        overrides: `--set` texts such as `search.population=128`, applied in order.

    Raises:
        InputError: everything that is wrong, one `file:line: key: message` each, by line.
    """
    document = read(path, overrides)
    experiment = None
    problems = list(document.problems)
    try:
        # JSON, so that "5" is no number and yet a list may become a tuple and text a path.
        experiment = Experiment.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        problems += explain(error, Experiment, document)
        problems += _across(document)
    problems += [*_space_problems(document), *_device_problems(document)]
    if experiment is None or problems:
        raise InputError([str(problem) for problem in sorted(set(problems))])
    return experiment


def to_yaml(experiment: Experiment) -> str:
    """The experiment with its defaults written out; `load` of it gives the same experiment."""
    out = io.StringIO()
    values = experiment.model_dump(mode="json", by_alias=True, exclude_none=True)
    YAML().dump(_short_lists(values), out)
    return out.getvalue()


def _short_lists(value: Any) -> Any:
    """The same, with lists of plain values kept on one line: `[24, 28, 32]`."""
    if isinstance(value, dict):
        return {key: _short_lists(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = CommentedSeq(_short_lists(item) for item in value)
    if not any(isinstance(item, (dict, list)) for item in value):
        items.fa.set_flow_style()
    return items


def _across(document: Document) -> Iterator[Problem]:
    """Problems between keys, which pydantic looks for only where each key is right."""
    value = document.value if isinstance(document.value, dict) else {}
    wanted = [
        ((group, i, "device"), item["device"])
        for group in ("objectives", "constraints")
        for i, item in enumerate(_list(value.get(group)))
        if isinstance(item, dict) and isinstance(item.get("device"), str)
    ]
    devices = [item for item in _list(value.get("devices")) if isinstance(item, str)]
    if devices:
        for location, message in device_problems(devices, wanted):
            yield document.problem(location, f"{dotted(location)}: {message}")


def _space_problems(document: Document) -> Iterator[Problem]:
    value = document.value.get("space") if isinstance(document.value, dict) else None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return
    for line in _problems_of(SpaceConfig.model_validate(value).create):
        key = line.split(":")[0]
        yield document.problem(("space", *key.split(".")), f"space.{line}")


def _device_problems(document: Document) -> Iterator[Problem]:
    value = document.value.get("devices") if isinstance(document.value, dict) else None
    for i, device in enumerate(_list(value)):
        if isinstance(device, str):
            for line in _problems_of(lambda device=device: load_device(device)):
                yield document.problem(("devices", i), f"devices.{i}: {line}")


def _problems_of(make: Callable[[], object]) -> list[str]:
    try:
        make()
    except InputError as error:
        return error.problems
    return []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
