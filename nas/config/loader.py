"""From a YAML file to a checked experiment, and back."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from hw_profiles.device import load_device
from nas.config.direct import DirectExperiment
from nas.config.document import Document, Problem, dotted, read
from nas.config.problems import explain
from nas.config.schema import Experiment, SpaceConfig, device_problems
from nas.objectives import MEMORY
from nas.search import registry as algorithms
from search_spaces.errors import InputError
from search_spaces.named import hint

M = TypeVar("M", bound=BaseModel)


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment and check all of it: keys, values, the space, the devices.

    Args:
        path: the YAML file.
        overrides: `--set` texts such as `search.population=128`, applied in order.

    Raises:
        InputError: everything that is wrong, one `file:line: key: message` each, by line.
    """
    return _checked(read(path, overrides), Experiment)


def load_any(path: Path, overrides: Sequence[str] = ()) -> Experiment | DirectExperiment:
    """The same, for a file that may name an `evaluator` of the user's own."""
    document = read(path, overrides)
    own = isinstance(document.value, dict) and "evaluator" in document.value
    return _checked(document, DirectExperiment if own else Experiment)


@contextmanager
def located(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Say on which line of an experiment file the key stands that an InputError begins with.

    For what only shows when the experiment is carried out: data, tables, reachable bounds.

    Args:
        path: the YAML file.
        overrides: `--set` texts.

    Raises:
        InputError: of the work inside.
    """
    document = read(path, overrides)  # as it is now: the work may take hours
    try:
        yield
    except InputError as error:
        raise InputError([_placed(document, line) for line in error.problems]) from error


def _placed(document: Document, line: str) -> str:
    key = line.partition(": ")[0]
    location = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    if location[:1] not in document.places:
        return line
    return str(document.problem(location, line))


def parse(value: Any) -> Experiment | DirectExperiment:
    """The experiment that a run keeps as plain values."""
    model = DirectExperiment if "evaluator" in value else Experiment
    return model.model_validate_json(json.dumps(value))


def _checked(document: Document, model: type[M]) -> M:
    experiment = None
    problems = list(document.problems)
    try:
        # JSON, so that "5" is no number and yet a list may become a tuple and text a path.
        experiment = model.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        problems += explain(error, model, document)
        problems += _across(document)
    problems += [*_space_problems(document), *_device_problems(document)]
    if isinstance(experiment, DirectExperiment):
        problems += _search_problems(experiment, document)
    if isinstance(experiment, Experiment) and not problems:
        problems += _metric_problems(experiment, document)
    if experiment is None or problems:
        raise InputError([str(problem) for problem in sorted(set(problems))])
    return experiment


def _search_problems(experiment: DirectExperiment, document: Document) -> Iterator[Problem]:
    name = experiment.search.type
    known = [*algorithms.names(), *algorithms.partial_names()]
    if name not in known:
        message = f"search.type: unknown search algorithm {name!r}; " + hint(name, known)
        yield document.problem(("search", "type"), message)
    elif name in algorithms.partial_names() and experiment.evaluator.type != "python":
        message = f"search.type: {name} needs partial evaluations, and a table has none: take "
        yield document.problem(("search", "type"), message + "an evaluator of type python")
    elif not _problems_of(experiment.space.create):
        space = experiment.space.create()
        for line in _problems_of(lambda: experiment.search.create(space, experiment.seed)):
            key = line.split(":")[0]
            yield document.problem(("search", key), f"search.{line}")


def _metric_problems(experiment: Experiment, document: Document) -> Iterator[Problem]:
    """Memory is planned for microcontrollers, and told by the compilers of NPUs."""
    for group in ("objectives", "constraints"):
        for i, item in enumerate(getattr(experiment, group)):
            if item.metric in MEMORY and load_device(item.device).kind not in ("mcu", "npu"):
                message = f"{group}.{i}: only microcontrollers and NPUs have {item.metric}, "
                message += f"{item.device!r} is none: take another device or metric"
                yield document.problem((group, i), message)


def to_yaml(experiment: Experiment | DirectExperiment) -> str:
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
