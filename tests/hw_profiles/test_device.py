import os
from pathlib import Path

import pytest

from hw_profiles.device import DeviceSpec, list_devices, load_device
from hw_profiles.profilers import registry
from hw_profiles.provenance import capture
from hw_profiles.table import LatencyTable, open_table, settings_of, table_path
from search_spaces.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    return tmp_path


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "device.yaml").write_text(text)
    return folder


def test_the_cpu_comes_with_hwnas(cache: Path) -> None:
    cpu = load_device("cpu")
    assert (cpu.runner, cpu.unit, cpu.threads, cpu.batch) == ("onnxruntime_cpu", "block", 1, 1)
    assert cpu in list_devices()
    assert registry.create(cpu).runtime.startswith("onnxruntime 1.")
    path = table_path(cpu)
    assert path.parent == cache / "devices" / "cpu"
    assert path.name.startswith("table-onnxruntime-1.")
    assert path.name.endswith("-t1-b1-float32.json")


def test_a_device_in_8_bits_differs_from_the_cpu_in_nothing_else(cache: Path) -> None:
    cpu, int8 = load_device("cpu"), load_device("cpu_int8")
    assert int8.dtype == "int8"
    alike = {"id": cpu.id, "description": cpu.description, "dtype": cpu.dtype, "folder": cpu.folder}
    assert int8.model_copy(update=alike) == cpu
    assert table_path(int8).name.endswith("-t1-b1-int8.json")


def test_own_devices_are_found_by_id_and_by_path(cache: Path) -> None:
    text = "id: board\nkind: mcu\nrunner: null\n"
    write(cache / "devices" / "board", text)
    assert load_device("board").id == "board"
    assert [device.id for device in list_devices() if device.folder.parent.parent == cache] == [
        "board"
    ]
    elsewhere = write(cache / "elsewhere", text.replace("board", "other"))
    assert load_device(elsewhere).folder == elsewhere


def test_an_unknown_device_names_the_nearest(cache: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown device 'cpuu'; did you mean 'cpu'\? devices: .*cpu"
    ):
        load_device("cpuu")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id: x\nkind: cpu\nrunner: null\nthread: 2\n", "thread: unknown key 'thread'.*'threads'"),
        ("id: x\nkind: toaster\nrunner: null\n", "kind: must be 'cpu', .*got \"toaster\""),
        ("id: x\nkind: cpu\nrunner: null\nthreads: 0\n", "threads: .*greater than or equal to 1"),
        ("id: [x\n", "can't be read as YAML"),
        ("- a\n", "must hold"),
        ("id: x\nkind: cpu\nrunner: null\nfolder: /\n", "unknown key 'folder'"),
    ],
)
def test_a_broken_description_is_one_line(cache: Path, text: str, problem: str) -> None:
    folder = write(cache / "broken", text)
    with pytest.raises(InputError, match=problem) as caught:
        load_device(folder)
    assert caught.value.problems[0].startswith(f"{folder / 'device.yaml'}: ")
    assert "\n" not in caught.value.problems[0]


def test_an_unknown_runner_names_the_nearest(cache: Path) -> None:
    device = DeviceSpec(id="x", kind="cpu", runner="onnxruntime")
    with pytest.raises(InputError, match="did you mean 'onnxruntime_cpu'"):
        registry.create(device)


def test_a_runner_that_lacks_the_element_type_says_so(cache: Path) -> None:
    assert registry.measures("onnxruntime_cpu", "int8")
    assert not registry.measures("jax_runtime", "int8")
    device = load_device("jax_cpu").model_copy(update={"dtype": "int8"})
    with pytest.raises(InputError, match="dtype: jax_runtime has float32 and bfloat16, not int8"):
        registry.create(device)


def test_a_device_without_a_runner_has_only_its_table(cache: Path) -> None:
    folder = write(cache / "devices" / "board", "id: board\nkind: mcu\nrunner: null\n")
    board = load_device("board")
    with pytest.raises(InputError, match="can't be measured here"):
        registry.create(board)
    with pytest.raises(InputError, match="not measured here and has no table"):
        open_table(board)
    elsewhere = capture("vendor's tool 3", 1)
    LatencyTable("board", settings_of(board), (elsewhere,)).save(folder / "table.json")
    assert open_table(board).sessions[0].runtime == "vendor's tool 3"
    assert not open_table(board).warnings


def test_provenance_says_where_and_when() -> None:
    here = capture("fake 1", 2)
    assert here.cpu
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.date.endswith("+00:00")
    assert here.load_end is None
    done = here.finished(noisy=True)
    assert done.load_end is not None
    assert done.noisy
    assert done.identity() == {"CPU": here.cpu, "runtime": "fake 1", "threads": 2}
