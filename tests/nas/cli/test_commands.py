"""check, spaces and devices: what they print, as text and as JSON."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nas.config import load
from search_spaces import registry

Nas = Callable[..., Any]

DEMO = """\
name: demo
space: {type: mobilenet_v3, resolution: [8], channels: 1, classes: 10, head: [32, 32]}
data: {type: digits}
supernet: {epochs: 5}
devices: [cpu]
objectives: [{metric: accuracy}, {metric: latency_ms, device: cpu}]
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("demo.yaml")
    path.write_text(DEMO, encoding="utf-8")
    return path


def test_check_prints_the_resolved_experiment(nas: Nas, demo: Path) -> None:
    result = nas("check", "demo.yaml", "--set", "seed=7", "--set", "search.type=random")
    assert (result.code, result.err) == (0, "")
    demo.write_text(result.out, encoding="utf-8")
    experiment = load(demo)
    assert (experiment.seed, experiment.search.type) == (7, "random")


def test_check_as_json(nas: Nas, demo: Path) -> None:
    result = nas("check", "demo.yaml", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert found["experiment"]["search"]["type"] == "nsga2"
    assert found["plan"]["training_images"] == 1293
    assert found["plan"]["to_profile"] == {"cpu": found["plan"]["blocks"]}


def test_check_counts_the_work(nas: Nas, demo: Path) -> None:
    lines = nas("check", "demo.yaml").out.splitlines()
    plan = [line for line in lines if line.startswith("# ")]
    assert "distinct blocks" in plan[0]
    assert "rough guesses" in plan[-1]


def test_check_compares_the_space_with_the_data(nas: Nas, demo: Path) -> None:
    result = nas("check", "demo.yaml", "--set", "space.classes=7", "--set", "space.channels=3")
    assert result.code == 2
    assert [line.rpartition("; ")[2] for line in result.err.splitlines()] == [
        "set space.channels: 1",
        "set space.classes: 10",
    ]


def test_check_tells_all_problems_and_prints_nothing_else(nas: Nas, demo: Path) -> None:
    demo.write_text(DEMO.replace("epochs", "epoch") + "sead: 1\n", encoding="utf-8")
    result = nas("check", "demo.yaml", "--set", "verify.top=0")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        "demo.yaml:4: supernet.epoch: unknown key 'epoch'; did you mean 'epochs'?",
        "demo.yaml:4: supernet.epochs: this key is missing",
        "demo.yaml:7: sead: unknown key 'sead'; did you mean 'seed'?",
        "--set verify.top=0: verify.top: must be greater than 0, got 0",
    ]


def test_check_of_a_missing_file(nas: Nas, demo: Path) -> None:
    result = nas("check", "demmo.yaml")
    assert result.code == 2
    assert result.err == "demmo.yaml: no such file; did you mean 'demo.yaml'?\n"


def test_spaces_lists_all(nas: Nas) -> None:
    rows = json.loads(nas("spaces", "--json").out)
    assert [row["name"] for row in rows] == registry.names()
    text = nas("spaces").out
    assert all(name in text for name in registry.names())


def test_spaces_shows_the_knobs_and_the_exact_size_of_one(nas: Nas) -> None:
    space = registry.create("mobilenet_v3")
    shown = json.loads(nas("spaces", "mobilenet_v3", "--json").out)
    assert int(shown["size"]) == space.size()
    assert [(k["name"], tuple(k["options"])) for k in shown["knobs"]] == [
        (knob.name, knob.options) for knob in space.knobs
    ]
    text = nas("spaces", "mobilenet_v3").out
    assert str(space.size()) in text
    assert "128, 160, 192, 224" in text


@pytest.mark.parametrize("name", registry.names())
def test_spaces_tells_what_every_parameter_is(nas: Nas, name: str) -> None:
    shown = json.loads(nas("spaces", name, "--json").out)["parameters"]
    kind: Any = registry.find(name)
    assert [p["name"] for p in shown] == [field.name for field in fields(kind)]
    assert all(p["description"] for p in shown)
    text = nas("spaces", name).out
    assert all(p["name"] in text and p["description"] in text for p in shown)


def test_a_parameter_that_is_no_yaml_is_named(nas: Nas) -> None:
    result = nas("profile", "mobilenet_v3", "--device", "cpu", "--set", "resolution=[24")
    assert (result.code, result.err) == (2, "--set resolution=[24: '[24' is not valid YAML\n")


def test_spaces_with_a_typo(nas: Nas) -> None:
    result = nas("spaces", "mobilenetv3")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'mobilenet_v3'?" in result.err


def test_devices_lists_all_and_shows_one(nas: Nas) -> None:
    rows = json.loads(nas("devices", "--json").out)
    assert "cpu" in [row["id"] for row in rows]
    assert "this machine's CPU" in nas("devices").out
    shown = json.loads(nas("devices", "cpu", "--json").out)
    assert (shown["id"], shown["kind"]) == ("cpu", "cpu")
    assert Path(shown["folder"], "device.yaml").is_file()
    assert "onnxruntime" in nas("devices", "cpu").out


def test_devices_with_a_typo(nas: Nas) -> None:
    result = nas("devices", "cpuu")
    assert (result.code, result.out) == (2, "")
    assert "unknown device 'cpuu'; did you mean 'cpu'?" in result.err


def test_new_devices_are_described(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    missing = nas("profile", "nasbench_macro", "--device", "pi", "--export-worklist", "x.zip")
    assert missing.code == 2
    assert "nas devices ID --new" in missing.err
    assert nas("devices", "--new").err.startswith("nas devices --new")
    made = json.loads(nas("devices", "pi", "--new", "--kind", "mcu", "--json").out)
    assert (made["id"], made["kind"], made["runner"]) == ("pi", "mcu", None)
    [here] = json.loads(nas("devices", "here", "--detect", "--json").out)
    assert here["machine"]["cpu"]
    assert "onnxruntime_cpu" in nas("devices", "here").out
    refused = nas("profile", "nasbench_macro", "--device", "here", "--export-worklist", "x.zip")
    assert refused.code == 2
    assert "is the machine that hwnas runs on" in refused.err


def test_published_latencies_become_a_device(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    table = tmp_path / "table.csv"
    table.write_text("op_a,op_b,gpu_ms\n0,1,2.5\n1,1,3.5\n")
    command = ["devices", "gpu", "--import", str(table), "--space", "cells", "--columns", "op_*"]
    assert "gpu_ms" in nas(*command, "--source", "me").err
    command += ["--latency", "gpu_ms", "--kind", "gpu"]
    assert "--source" in nas(*command).err
    wrong = nas(*command, "--source", "me", "--where", "op_a")
    assert wrong.err == "--where op_a: must be COLUMN=VALUE\n"
    shown = json.loads(nas(*command, "--source", "me", "--json").out)
    [latencies] = shown["latencies"]
    assert (latencies["networks"], latencies["source"]) == (2, "me")
    assert "2 networks, 2.5 to 3.5 ms" in nas("devices", "gpu").out


def test_tables_in_a_pipe_are_neither_cut_nor_coloured(nas: Nas) -> None:
    out = nas("spaces").out
    assert "\x1b" not in out
    assert "…" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
