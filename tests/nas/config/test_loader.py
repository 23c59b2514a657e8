"""What is loaded from experiment files, and what is told of files that are none."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.config import Experiment, load, located, to_yaml
from search_spaces.errors import InputError

Problems = Callable[..., list[str]]
Write = Callable[..., Path]


def test_a_good_file_gives_its_values_and_the_defaults(write: Write) -> None:
    experiment = load(write())
    assert experiment.name == "demo"
    assert experiment.supernet.learning_rate == 0.001
    assert experiment.search.population == 16
    assert experiment.objectives[0].goal == "max"
    assert experiment.objectives[1].column == "latency_ms@cpu"
    assert experiment.seed == 0
    assert experiment.space.parameters == {"resolution": [24, 28, 32], "classes": 10}
    assert experiment.space.create().knobs[0].options == (24, 28, 32)


def test_a_device_has_five_objectives_at_most(write: Write, problems: Problems) -> None:
    five = "  - {metric: macs}\n  - {metric: params}\n  - {metric: energy_mj, device: cpu}\n"
    text = Path(write()).read_text(encoding="utf-8").replace("search:", five + "search:")
    assert len(load(write(text)).objectives) == 5
    (line,) = problems("search:", five + "  - {metric: peak_sram_kib, device: cpu}\nsearch:")
    assert "6 objectives are too many for cpu: at most 5" in line


def test_a_merge_key_adds_what_is_not_given(write: Write) -> None:
    merged = """\
constraints:
  - &tight {metric: latency_ms, device: cpu, max: 3, probability: 0.9}
  - {max: 5, <<: *tight, metric: energy_mj}
  - {<<: [{max: 7}, *tight], metric: params, device: null, probability: null}
search:
"""
    text = Path(write()).read_text(encoding="utf-8").replace("search:\n", merged)
    first, second, third = load(write(text)).constraints
    assert (first.metric, first.upper, first.probability) == ("latency_ms", 3, 0.9)
    assert (second.metric, second.device, second.upper) == ("energy_mj", "cpu", 5)
    assert second.probability == 0.9
    assert (third.metric, third.upper, third.device) == ("params", 7, None)


def test_what_was_merged_stands_on_the_line_of_its_origin(problems: Problems) -> None:
    text = """\
constraints:
  - &first {metric: latency_ms, device: cpu, max: 3}
  - <<: *first
    metric: energy_jm
  - {metric: macs, max: 9, <<: {mxa: 1}}
"""
    metric, key = [line.split(": ")[:2] for line in problems("", text)]
    assert metric == ["demo.yaml:16", "constraints.1.metric"]
    assert key == ["demo.yaml:17", "constraints.2.mxa"]
    wrong = [line.split(": ")[:2] for line in problems("", text.replace("cpu, max", "gpu, max"))]
    assert ["demo.yaml:14", "constraints.1.device"] in wrong


def test_an_unknown_device_is_named_with_those_that_exist(problems: Problems) -> None:
    found = problems("[cpu]", "[cpu, raspberry]")
    assert len(found) == 1
    assert found[0].startswith("demo.yaml:7: devices.1: unknown device 'raspberry'; devices: ")
    assert " cpu," in found[0]


def test_no_objective(problems: Problems) -> None:
    found = problems("", "", "objectives=[]")
    assert found == ["--set objectives=[]: objectives: must have at least 1 entry, got 0"]


def test_all_mistakes_are_told_at_once_by_line(problems: Problems) -> None:
    text = "seed: -1\nsupernett: 3\nverify: {top: 0}\nconstraints: [{metric: macs, device: gpu}]\n"
    found = problems("", text, "search.evaluations=0", "data.type=mnist")
    assert [line.split(": ")[:2] for line in found] == [
        ["demo.yaml:13", "seed"],
        ["demo.yaml:14", "supernett"],
        ["demo.yaml:15", "verify.top"],
        ["demo.yaml:16", "constraints.0.device"],
        ["demo.yaml:16", "constraints.0"],
        ["--set search.evaluations=0", "search.evaluations"],
        ["--set data.type=mnist", "data.type"],
    ]


def test_a_wrong_entry_does_not_make_its_list_too_short(problems: Problems) -> None:
    found = problems("", "", "objectives=[{metric: acuracy}]")
    assert len(found) == 1
    assert "unknown metric" in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [1\nseed: 2", "demo.yaml:2: not valid YAML: "),
        (
            "name: 1\n\tseed: 2",
            "demo.yaml:2: not valid YAML: a tab begins a value; YAML is indented",
        ),
        ("name: a\x07b", "demo.yaml:1: not valid YAML: "),
        ("a: 1\n---\nb: 2", "demo.yaml:2: not valid YAML: "),
        ("- 1\n- 2", "demo.yaml:1: must be a group of keys, got [1, 2]"),
        ("just text", 'demo.yaml:1: must be a group of keys, got "just text"'),
        ("", "demo.yaml:1: data: this key is missing"),
    ],
)
def test_not_an_experiment_at_all(write: Write, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load(write(text))
    assert caught.value.problems[0].startswith(expected)


def test_a_missing_file_names_the_nearest_one(write: Write) -> None:
    write()
    with pytest.raises(InputError, match=r"^dmo.yaml: no such file; did you mean 'demo.yaml'\?$"):
        load(Path("dmo.yaml"))
    with pytest.raises(InputError, match=r"^no/where.yaml: no such file$"):
        load(Path("no/where.yaml"))


def test_a_file_that_is_no_text_or_can_not_be_read(write: Write) -> None:
    path = write()
    path.write_bytes(b"name: \xff")
    with pytest.raises(InputError, match=r"demo.yaml: byte 6 is not UTF-8 text"):
        load(path)
    with pytest.raises(InputError, match=r"can't be read: is a directory"):
        load(Path())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.popluation=3", "search.popluation: unknown key 'popluation'; did you mean"),
        ("search.population=x", 'search.population: must be a whole number, got "x"'),
        ("search.population", "give it as key=value, e.g. search.population=128"),
        ("=3", "give it as key=value"),
        ("search..population=3", "give it as key=value"),
        ("name.x=3", "name is 'demo', it has no key 'x'"),
        ("devices.1=cpu", "devices is a list of 1: '1' is no index of it (from 0)"),
        ("devices.first=cpu", "devices is a list of 1: 'first' is no index of it (from 0)"),
        ("search.population=[", "not valid YAML: "),
        ("seed=!x 1", "seed: tag !x is not supported"),
        ("new.group.key=1", "new: unknown key 'new'; known keys: name, "),
    ],
)
def test_a_wrong_override_is_named_as_typed(
    problems: Problems, override: str, expected: str
) -> None:
    assert [s for s in problems("", "", override) if s.startswith(f"--set {override}: {expected}")]


def test_problems_of_the_work_are_put_where_their_keys_stand(write: Write) -> None:
    lines = ["data.path: no such folder", "space: 7 outputs", "verify.top: x", "runs/a: full", "x"]
    with pytest.raises(InputError) as caught, located(write(), ["verify.top=1"]):
        raise InputError(lines)
    assert caught.value.problems == [
        f"demo.yaml:3: {lines[0]}",
        f"demo.yaml:2: {lines[1]}",
        f"--set verify.top=1: {lines[2]}",
        *lines[3:],
    ]


def test_overrides_apply_in_order_and_reach_into_lists(write: Write) -> None:
    overrides = [
        "search.population=4",
        "search.population=8",
        "objectives.1.metric=energy_mj",
        "verify.top=3",
        "supernet={epochs: 9}",
        "space.resolution=[16]",
    ]
    experiment = load(write(), overrides)
    assert experiment.search.population == 8
    assert experiment.objectives[1].column == "energy_mj@cpu"
    assert experiment.verify.top == 3
    assert (experiment.supernet.epochs, experiment.supernet.learning_rate) == (9, 2e-3)
    assert experiment.space.parameters["resolution"] == [16]


def test_a_file_mended_by_an_override_loads(write: Write) -> None:
    path = write("name: [bad]\nspace: {type: mobilenet_v3}\ndata: {type: digits}\n")
    overrides = ["name=ok", "supernet.epochs=1", "devices=[cpu]", "objectives=[{metric: macs}]"]
    assert load(path, overrides).name == "ok"


def test_a_model_made_in_python_is_checked_across_keys_too(write: Write) -> None:
    values = load(write()).model_dump() | {"devices": ("gpu",)}
    with pytest.raises(ValueError, match="device 'cpu' is not in devices"):
        Experiment.model_validate(values)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
    seed=st.integers(0, 2**32 - 1),
    learning_rate=st.floats(1e-12, 1e3),
    upper=st.floats(-1e12, 1e12),
    distill=st.booleans(),
    images=st.none() | st.integers(1, 10**6),
    path=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12),
)
def test_the_resolved_file_loads_to_the_same_experiment(
    write: Write,
    name: str,
    seed: int,
    learning_rate: float,
    upper: float,
    distill: bool,
    images: int | None,
    path: str,
) -> None:
    values = load(write()).model_dump(mode="json", by_alias=True)
    values |= {"name": name, "seed": seed}
    values["supernet"] |= {"learning_rate": learning_rate, "distill": distill}
    values["constraints"] = [{"metric": "macs", "max": upper}]
    values["evaluation"]["validation_images"] = images
    values["data"]["path"] = f"/{path}"
    experiment = Experiment.model_validate(values)
    assert load(write(to_yaml(experiment))) == experiment
