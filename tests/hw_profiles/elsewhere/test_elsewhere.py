"""Worklists that leave, results that come back: with a fake clock, and once for real."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from hw_profiles.device import DeviceSpec, load_device, new_device
from hw_profiles.elsewhere import measure
from hw_profiles.elsewhere.results import import_results
from hw_profiles.elsewhere.worklist import export_worklist
from hw_profiles.job import Job
from hw_profiles.table import open_table, table_path
from hw_profiles.worklist import worklist
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.mobilenet_v3 import MobileNetV3

SPACE = MobileNetV3(
    resolution=(8,),
    channels=1,
    classes=3,
    stem=8,
    stem_stride=1,
    widths=(8, 16),
    strides=(1, 2),
    hswish=(False, True),
    squeeze_excite=(False, True),
    depth=(1, 2),
    kernel=(3,),
    expand=(2, 6),
    head=(16, 24),
)
NETWORKS = 6


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceSpec:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    return new_device("board")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worklist of a board that nothing is known of."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "device.yaml").write_text("id: board\nkind: cpu\nrunner: null\n")
    export_worklist(SPACE, load_device(folder), folder / "board.zip", networks=NETWORKS)
    return folder / "board.zip"


def unpacked(archive: Path, where: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        file.extractall(where)
    return where / "hwnas-board"


@pytest.fixture
def folder(exported: Path, board: DeviceSpec, tmp_path: Path) -> Path:
    return unpacked(exported, tmp_path)


def cost_us(graph: Graph) -> float:
    return 5.0 + 1e-3 * count(graph).macs


def write_results(
    folder: Path, board: DeviceSpec, change: Callable[[list[dict[str, Any]]], Any] | None = None
) -> Path:
    """What the script writes on a machine whose every model takes `cost_us`."""
    work = json.loads((folder / "worklist.json").read_text())
    units = {unit.key: unit for unit in worklist(BlockMap(SPACE), board)}
    archs = np.array(work["networks"], int)
    graphs = Job(list(units.values()), [SPACE.build(arch) for arch in archs]).graphs
    machine = {**measure.machine(), "host": "board-1", "cpuinfo": "Model : Raspberry Pi 4\n"}
    lines: list[dict[str, Any]] = [{"worklist": work, "machine": machine}]
    for number in range(12):
        slow = 1.5 if number % 3 == 0 else 1.0
        for name in set().union(*work["groups"]):
            times = [round(cost_us(graphs[name]) * slow, 9)] * 3
            references = [30.0 * slow] * 4
            visit = {"inner": 2, "times_us": times, "references_us": references}
            lines.append({"model": name, **visit})
    lines.append({"complete": True})
    if change is not None:
        change(lines)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "results.jsonl"


def test_results_become_the_table(board: DeviceSpec, folder: Path) -> None:
    done = import_results(SPACE, board, write_results(folder, board))
    assert (done.units, len(done.archs)) == (done.wanted, NETWORKS)
    assert open_table(load_device("board")) == done.table
    assert done.table.bind(SPACE).missing == ()
    assert done.table.unsettled() == set()
    for unit in worklist(BlockMap(SPACE), board):
        if unit.description.startswith("s1/b1"):
            # The slope between one and four: neither the call nor the borders are in it.
            measured = done.table.units[unit.key].value_us
            assert measured == pytest.approx(1e-3 * count(unit.graph).macs, rel=1e-6)
    whole = [cost_us(SPACE.build(arch)) / 1e3 for arch in done.archs]
    np.testing.assert_allclose(done.measured_ms, whole, rtol=1e-6)
    (session,) = done.table.sessions
    assert (session.host, session.cpu, session.threads) == ("board-1", "Raspberry Pi 4", 1)
    assert session.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert np.isnan(done.estimated_ms).all()


def test_networks_measured_later_are_held_against_the_table(
    board: DeviceSpec, folder: Path, tmp_path: Path
) -> None:
    import_results(SPACE, board, write_results(folder, board))
    archs = SPACE.sample(np.random.default_rng(5), 3)
    later = tmp_path / "front.zip"
    front = export_worklist(SPACE, board, later, archs=archs, networks=NETWORKS)
    assert (front.units, front.networks, front.models) == (0, 3, 3)
    results = write_results(unpacked(later, tmp_path / "front"), board)
    done = import_results(SPACE, board, results)
    np.testing.assert_allclose(done.estimated_ms, done.measured_ms, rtol=0.05)
    assert len(done.table.networks) == NETWORKS + 3


def test_nothing_is_written_that_is_known(board: DeviceSpec, folder: Path, tmp_path: Path) -> None:
    import_results(SPACE, board, write_results(folder, board))
    with pytest.raises(InputError, match=r"has measurements of all blocks .* add --again"):
        export_worklist(SPACE, board, tmp_path / "more.zip", networks=NETWORKS)
    again = tmp_path / "again.zip"
    everything = export_worklist(SPACE, board, again, networks=0, only_missing=False)
    assert everything.units == len(worklist(BlockMap(SPACE), board))
    with pytest.raises(InputError, match="exists already"):
        export_worklist(SPACE, board, again, only_missing=False)


def test_an_interrupted_script_gives_what_it_has(board: DeviceSpec, folder: Path) -> None:
    path = write_results(folder, board)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[: len(lines) // 2]) + '\n{"model": "torn')
    table = import_results(SPACE, board, path).table
    assert table.units
    assert table.unsettled() == set(table.units)
    lost = min(json.loads(lines[1])["model"], "network0")
    few = [line for line in lines if lost not in line or "worklist" in line]
    path.write_text("\n".join(few))
    done = import_results(SPACE, board, path)
    assert done.units < done.wanted or not len(done.archs)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: lines[0]["worklist"].update(seed=9), "its worklist was changed"),
        (lambda lines: lines.__delitem__(slice(0, 1)), "holds no measurements"),
        (lambda lines: lines.__delitem__(slice(1, None)), "holds no measurements"),
        (lambda lines: lines.__delitem__(slice(3, None)), "let measure.py run on"),
        (
            lambda lines: lines.append(
                {**lines[0], "machine": {**lines[0]["machine"], "host": "board-2"}}
            ),
            "host 'board-1' and 'board-2': results of one machine only",
        ),
    ],
)
def test_results_that_can_not_be_trusted_are_refused(
    board: DeviceSpec, folder: Path, change: Callable[..., Any], problem: str
) -> None:
    path = write_results(folder, board, change=change)
    with pytest.raises(InputError, match=problem):
        import_results(SPACE, board, path)
    assert not table_path(board).exists()


def test_results_of_something_else_are_refused(board: DeviceSpec, folder: Path) -> None:
    path = write_results(folder, board)
    with pytest.raises(InputError, match="is of device 'board', not of 'other'"):
        import_results(SPACE, new_device("other"), path)
    with pytest.raises(InputError, match=r"is of mobilenet_v3:.*give the space and the --set"):
        import_results(MobileNetV3(), board, path)
    faster = board.model_copy(update={"threads": 4})
    with pytest.raises(InputError, match=r"'threads': 1.* now has .*'threads': 4"):
        import_results(SPACE, faster, path)
    with pytest.raises(InputError, match="can't be read: no such file"):
        import_results(SPACE, board, folder / "nothing.jsonl")


def test_the_machine_that_hwnas_runs_on_is_measured_directly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nas devices ID --new"):
        export_worklist(SPACE, load_device("cpu"), tmp_path / "x.zip")


def test_new_devices_have_sound_ids(board: DeviceSpec) -> None:
    assert (board.runner, board.threads) == (None, 1)
    with pytest.raises(InputError, match="'board' exists already"):
        new_device("board")
    with pytest.raises(InputError, match="small letters"):
        new_device("../Pi 4")
    with pytest.raises(InputError, match="--device board --export-worklist"):
        open_table(board)


def test_the_script_needs_numpy_and_onnxruntime_only() -> None:
    tree = ast.parse(Path(measure.__file__).read_text())
    names = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    } | {
        str(node.module).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def test_models_share_their_weights_and_stay_finite(folder: Path) -> None:
    models = sorted((folder / "models").glob("*.onnx"))
    assert sum(path.stat().st_size for path in models) < 40_000 * len(models)
    for path in models[:: len(models) // 5]:
        session = onnxruntime.InferenceSession(path)
        feeds = {
            item.name: np.ones([1, *item.shape[1:]], np.float32) for item in session.get_inputs()
        }
        for output in session.run(None, feeds):
            assert np.isfinite(np.asarray(output)).all()
            assert np.asarray(output).std() > 0


def test_a_worklist_in_8_bits_holds_quantised_models(tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text("id: board8\nkind: cpu\nrunner: null\ndtype: int8\n")
    done = export_worklist(SPACE, load_device(tmp_path), tmp_path / "w.zip", networks=1)
    with zipfile.ZipFile(tmp_path / "w.zip") as archive:
        archive.extractall(tmp_path)
    models = tmp_path / done.folder / "models"
    assert len(list(models.glob("*.onnx"))) == done.models + 1
    (network,) = models.glob("network*.onnx")
    weights = {item.data_type for item in onnx.load(network).graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    run = measure.load(str(network), 1, 1, np.random.default_rng(0))
    assert run() is None


def test_the_script_measures_and_goes_on_where_it_was_stopped(
    board: DeviceSpec, folder: Path
) -> None:
    script, results = folder / "measure.py", folder / "results.jsonl"
    # Sees every model often enough to have a value, and no more.
    script.write_text(script.read_text().replace("= 20, 1.03,", "= 4, np.inf,"))
    command = [sys.executable, "-I", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert str(results) in done.stderr
    lines = results.read_text().splitlines()
    results.write_text("\n".join(lines[: len(lines) // 2]) + "torn")
    subprocess.run(command, capture_output=True, check=True)
    visits = [line for line in results.read_text().splitlines() if line.startswith('{"model"')]
    models = len(list((folder / "models").glob("*.onnx"))) - 1
    assert len(visits) in (4 * models, 4 * models + 1)  # the torn one may be made again
    table = import_results(SPACE, board, folder).table
    assert table.bind(SPACE).missing == ()
    # As many as the machine has, not those that the script bound itself to.
    assert table.sessions[-1].cores == len(os.sched_getaffinity(0))
    ends = np.stack([SPACE.smallest(), SPACE.largest()])
    small, large = table.bind(SPACE).cost(ends).mean_ms
    assert 0 < small < large
