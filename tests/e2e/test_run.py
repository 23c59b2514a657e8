"""From one YAML file to a verified front and an ONNX file, and every way it can be stopped."""

import csv
import io
import json
import shutil
import signal

import numpy as np
import onnxruntime
import pytest

from nas.bench_search import load_problem
from nas.cli import main
from nas.config import load
from nas.results import open as open_run
from nas.search.benchmark import compare
from nas.workbench import Workbench
from search_spaces.errors import InputError

pytestmark = pytest.mark.slow

# Runs in the process before the command: it dies by SIGKILL around its n-th entry in the journal.
_KILL = """
import os, signal
from nas.journal import Journal
append, calls = Journal.append, []
def deadly(self, record):
    calls.append(1)
    if len(calls) == {n}:
        if {torn}:
            with open(self.path, "ab") as file:
                file.write(b'{{"crc32": "00000000", "rec')
        else:
            append(self, record)
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, record)
Journal.append = deadly
"""
_KILL_IN_TRAINING = """
import os, signal
import nas.supernet.train
nas.supernet.train._CHECKPOINT_S = 0.0
from nas.supernet.checkpoint import Checkpoints
save = Checkpoints.save
def deadly(self, epoch, state):
    save(self, epoch, state)
    os.kill(os.getpid(), signal.SIGKILL)
Checkpoints.save = deadly
"""
_FULL_DISK = """
import errno, os
from nas.journal import Journal
append, calls = Journal.append, []
fsync = os.fsync
def full(self, record):
    calls.append(1)
    if len(calls) == 4:
        def no(*_):
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        os.fsync = no
    append(self, record)
Journal.append = full
"""


def test_a_run_ends_in_a_front_and_a_checked_onnx_file(finished):
    assert {"config.yaml", "config.resolved.yaml", "environment.json", "run.db", "log.txt"} <= {
        path.name for path in finished.iterdir()
    }
    header, *rows = (finished / "pareto.csv").read_text().splitlines()
    assert header.startswith("id,arch,choices,accuracy")
    assert rows
    assert "<script" in (finished / "report.html").read_text()
    [model] = finished.glob("exports/*/onnx/model.onnx")
    card = json.loads((model.parent / "card.json").read_text())
    assert card["numerics"]["max_relative_error"] <= 1e-4
    image = {"height": 8, "width": 8, "channels": 1}
    assert card["input"]["preprocessing"]["data"] == {"type": "digits", **image}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    images = np.zeros((3, *image.shape[1:]), np.float32)
    assert np.asarray(session.run(None, {image.name: images})[0]).shape == (3, 10)


def test_a_file_that_was_exported_before_the_run_was_stopped_counts(nas, experiment, finished):
    folder = finished.parent / "exported_before"
    shutil.copytree(finished, folder)
    stages = [folder / "stages" / f"{name}.json" for name in ("export", "report")]
    before = json.loads(stages[0].read_text())
    for stage in stages:
        stage.unlink()
    done = nas("run", experiment, "--folder", folder, "--resume")
    assert done.returncode == 0, done.stderr
    assert json.loads(stages[0].read_text())["test_accuracy"] == before["test_accuracy"] != {}


def test_results_of_a_run(nas, finished):
    front = json.loads(nas("pareto", finished, "--json").stdout)
    assert {"accuracy", "test_accuracy", "macs"} <= front[0].keys()
    few = json.loads(nas("pareto", finished, "--where", "macs < 1", "--json").stdout)
    assert few == []
    none = nas("pareto", finished, "--where", "macs < 1")
    assert (none.returncode, none.stdout) == (0, "no network meets the conditions\n")
    rows = csv.DictReader(io.StringIO(nas("pareto", finished, "--csv").stdout))
    assert [json.loads(row["choices"]) for row in rows] == [row["choices"] for row in front]
    shown = nas("show", f"{finished}/{front[0]['id']}")
    assert shown.returncode == 0, shown.stderr
    assert "s0.depth" in shown.stdout
    again = nas("export", f"{finished}/{front[0]['id']}", "-o", finished.parent / "exported")
    assert again.returncode == 0, again.stderr
    assert (finished.parent / "exported" / "model.onnx").is_file()
    taken = nas("export", f"{finished}/{front[0]['id']}", "-o", finished.parent / "exported")
    assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
    assert "exported: exists already" in taken.stderr
    missing = nas("export", f"{finished}/9999")
    assert missing.returncode == 2
    assert len(missing.stderr.strip().splitlines()) == 1


def test_searches_are_compared_on_the_estimates_of_a_run(finished):
    """They are told what the run's own search was told."""
    problem, _ = load_problem(finished)
    curves = compare(problem, ["nsga2", "random"], 2, 40, 10, {}, lambda *_: None)
    tried = open_run(finished).trials("search")
    F, G = problem.evaluate(np.array(tried["arch"].tolist()))
    columns = tried[[c for c in tried.columns if c == "accuracy" or c.endswith("board")]]
    np.testing.assert_allclose(F * [-1, 1], columns.to_numpy(float), rtol=1e-12)
    assert all((each[:, -1] > 0).all() for each in curves.values())
    assert problem.quality(F, G) > problem.average


def _here(capsys, *arguments: str) -> str:
    """Output of `nas` in this process, which knows JAX already."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_memory_and_c_of_a_finished_run(finished, capsys):
    pytest.importorskip("unicorn")
    trial = f"{finished}/{(finished / 'pareto.csv').read_text().splitlines()[1].split(',')[0]}"
    shown = _here(capsys, "show", trial, "--memory")
    assert shown.startswith("arena of ")
    assert "<- peak" in shown
    folder = finished.parent / "c"
    told = _here(capsys, "export", trial, "--to", "c", "--patches", "2", "-o", str(folder))
    assert "machine code made the expected bytes on: cortex_m7, emulated" in told
    card = json.loads((folder / "card.json").read_text())
    assert card["model"]["patches"] == 2
    assert "/patch_1_1" in (folder / "model.c").read_text()


def test_killed_again_and_again_it_ends_in_the_same_bytes(nas, finished, experiment, tmp_path):
    folder = tmp_path / "run"
    # In training; while labelling; with a torn record; in the search; at the verified front.
    kills = [_KILL_IN_TRAINING]
    kills += [_KILL.format(n=1, torn=False), _KILL.format(n=2, torn=True)]
    kills += [_KILL.format(n=3, torn=False), _KILL.format(n=5, torn=False)]
    for number, trouble in enumerate(kills):
        resume = ["--resume"] if number else []
        killed = nas("run", experiment, "--folder", folder, *resume, before=trouble)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = nas("run", experiment, "--folder", folder, "--resume")
    assert done.returncode == 0, done.stderr
    assert (folder / "pareto.csv").read_bytes() == (finished / "pareto.csv").read_bytes()


@pytest.mark.exhaustive
def test_a_full_disk_is_one_line_and_nothing_is_lost(nas, finished, experiment, tmp_path):
    folder = tmp_path / "run"
    stopped = nas("run", experiment, "--folder", folder, before=_FULL_DISK)
    assert stopped.returncode == 2
    assert "Traceback" not in stopped.stderr
    assert "free" in stopped.stderr.splitlines()[-1]
    done = nas("run", experiment, "--folder", folder, "--resume")
    assert done.returncode == 0, done.stderr
    assert (folder / "pareto.csv").read_bytes() == (finished / "pareto.csv").read_bytes()


@pytest.mark.exhaustive
def test_workers_find_the_same_front(nas, finished, experiment, tmp_path):
    folder = tmp_path / "run"
    done = nas("run", experiment, "--folder", folder, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert (folder / "pareto.csv").read_bytes() == (finished / "pareto.csv").read_bytes()


def _refused(result, *parts):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    for part in parts:
        assert part in last
    return last


def test_an_infeasible_bound_names_the_reachable_minimum(nas, experiment, tmp_path):
    file = tmp_path / "tight.yaml"
    board = experiment.parent / "board"
    bound = f"constraints: [{{metric: latency_ms, device: {board}, max: 0.0001}}]\n"
    file.write_text(experiment.read_text() + bound)
    result = nas("run", file, "--folder", tmp_path / "run")
    _refused(result, "0.0001", "minimum reachable is 0.0", "raise `max`")


def test_weights_of_an_unfinished_training_are_not_used(experiment, tmp_path):
    with pytest.raises(InputError, match="not trained to the end"):
        _ = Workbench(load(experiment), tmp_path).params


def test_a_run_is_never_overwritten(nas, finished, experiment):
    _refused(nas("run", experiment, "--folder", finished), "--resume")
    other = nas("run", experiment, "--folder", finished, "--resume", "--set", "seed=1")
    _refused(other, "another configuration")


def test_a_run_of_an_earlier_release_goes_on(nas, finished, experiment, tmp_path):
    """It did not know all keys of this one."""
    earlier = shutil.copytree(finished, tmp_path / "earlier") / "config.resolved.yaml"
    text = earlier.read_text()
    assert "allow_interpolation: false\n" in text
    earlier.write_text(text.replace("allow_interpolation: false\n", ""))
    done = nas("run", experiment, "--folder", earlier.parent, "--resume")
    assert done.returncode == 0, done.stderr


def test_bad_input_is_one_clear_line(nas, experiment, tmp_path):
    text = experiment.read_text()
    cases = {
        "typo": (text.replace("population:", "popluation:"), "did you mean 'population'"),
        "device": (text.replace("devices: [", "devices: [nowhere, "), "unknown device 'nowhere'"),
        "data": (
            text.replace("{type: digits}", "{type: fashion_mnist, path: /no/such/folder}"),
            "/no/such/folder",
        ),
        "classes": (text.replace("classes: 10", "classes: 7"), "set space.classes: 10"),
    }
    for name, (changed, part) in cases.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(changed)
        result = nas("run", file, "--folder", tmp_path / name)
        assert part in result.stderr, result.stderr
        _refused(result)


def test_a_corrupt_table_is_named(nas, experiment, tmp_path):
    board = tmp_path / "board"
    shutil.copytree(experiment.parent / "board", board)
    table = board / "table.json"
    table.write_text(table.read_text().replace("1.", "2.", 1))
    file = tmp_path / "corrupt.yaml"
    file.write_text(experiment.read_text().replace(str(experiment.parent / "board"), str(board)))
    _refused(nas("run", file, "--folder", tmp_path / "run"), str(table), "checksum")
