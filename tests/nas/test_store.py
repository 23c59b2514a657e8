import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest

from nas import store as store_module
from nas.store import RunStore, is_run, read_trials, stage_facts
from nas.trials import Batch
from search_spaces.errors import InputError

_FILES = {"config": "name: a\n", "resolved": "name: a\nseed: 0\n", "environment": {"host": "x"}}


def _batch(start: int, n: int, stage: str = "search") -> Batch:
    numbers = np.arange(start, start + n)
    archs = np.stack([numbers, numbers % 3], axis=1)
    latency_ms = numbers / 7
    return Batch(
        stage,
        archs,
        {"accuracy": 1 / (1 + numbers), "latency_ms@cpu": latency_ms},
        {"accuracy": "predicted", "latency_ms@cpu": "interpolated"},
        {"latency_ms@cpu": (latency_ms * 0.9, latency_ms * 1.1)},
    )


@pytest.fixture
def run(tmp_path):
    with RunStore.create(tmp_path / "runs" / "a", **_FILES) as opened:
        yield opened


def test_a_run_is_never_overwritten(run):
    run.append(_batch(0, 4))
    before = (run.folder / "config.yaml").read_bytes()
    run.close()
    with pytest.raises(InputError, match="runs/a: this run exists; continue it with --resume"):
        RunStore.create(run.folder, **{**_FILES, "config": "name: b\n"})
    assert (run.folder / "config.yaml").read_bytes() == before
    with RunStore.open(run.folder) as again:
        assert len(again.trials()) == 4


def test_a_run_in_which_nothing_was_done_is_started_anew(run):
    run.close()
    with RunStore.create(run.folder, **{**_FILES, "config": "name: b\n"}) as again:
        assert (run.folder / "config.yaml").read_text() == "name: b\n"
        again.mark_done("profile", seconds=1.0)
    with pytest.raises(InputError, match="this run exists"):
        RunStore.create(run.folder, **_FILES)


def test_a_folder_with_other_things_is_refused_and_a_half_made_run_is_finished(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(InputError, match="exists and is not a run"):
        RunStore.create(tmp_path / "thesis", **_FILES)
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.yaml").write_text("na")
    assert not is_run(half)
    with pytest.raises(InputError, match="no run here"):
        RunStore.open(half)
    with RunStore.create(half, **_FILES):
        assert is_run(half)
        assert (half / "config.yaml").read_text() == _FILES["config"]


def test_appending_is_idempotent_and_one_network_keeps_its_id_over_stages(run):
    np.testing.assert_array_equal(run.append(_batch(0, 3, "label")), [1, 2, 3])
    np.testing.assert_array_equal(run.append(_batch(2, 3)), [3, 4, 5])
    np.testing.assert_array_equal(run.append(_batch(2, 3)), [3, 4, 5])
    assert run.trials("label").index.tolist() == [1, 2, 3]
    assert run.trials("search").index.tolist() == [3, 4, 5]
    assert len(run.trials()) == 6


def test_the_table_says_numbers_sources_and_intervals(run):
    run.append(_batch(1, 2))
    expected = pd.DataFrame(
        {
            "stage": ["search", "search"],
            "arch": [(1, 1), (2, 2)],
            "accuracy": [1 / 2, 1 / 3],
            "accuracy.source": "predicted",
            "latency_ms@cpu": [1 / 7, 2 / 7],
            "latency_ms@cpu.source": "interpolated",
            "latency_ms@cpu.lower": [1 / 7 * 0.9, 2 / 7 * 0.9],
            "latency_ms@cpu.upper": [1 / 7 * 1.1, 2 / 7 * 1.1],
        },
        index=pd.Index([1, 2], name="id"),
    )
    pd.testing.assert_frame_equal(run.trials("search"), expected, check_dtype=False)


def test_a_run_without_trials_has_an_empty_table(run):
    for table in (run.trials(), run.trials("search")):
        assert len(table) == 0
        assert list(table.columns) == ["stage", "arch"]


def test_later_numbers_of_a_network_join_the_earlier_ones(run):
    run.append(_batch(1, 2))
    archs = _batch(1, 2).archs
    run.append(Batch("search", archs[1:], {"macs": np.array([7])}, {"macs": "counted"}))
    table = run.trials("search")
    assert table["macs"].isna().tolist() == [True, False]
    assert table["accuracy"].notna().all()


def test_a_column_without_a_source_is_refused():
    with pytest.raises(ValueError, match="without a source: macs"):
        Batch("search", np.zeros((1, 2), np.int64), {"macs": np.ones(1)}, {})


@pytest.mark.parametrize("damage", ["missing", "behind", "garbage", "of another journal"])
def test_the_table_is_made_again_from_the_journal(run, tmp_path, damage):
    run.append(_batch(0, 5, "label"))
    run.close()
    database = run.folder / "run.db"
    shutil.copy(database, tmp_path / "behind.db")
    with RunStore.open(run.folder) as again:
        again.append(_batch(3, 5))
        expected = again.trials()
    if damage == "missing":
        database.unlink()
    elif damage == "behind":
        shutil.copy(tmp_path / "behind.db", database)
    elif damage == "garbage":
        database.write_bytes(b"not a database " * 1000)
    else:
        with RunStore.create(tmp_path / "other", **_FILES) as other:
            other.append(_batch(100, 5))
        shutil.copy(tmp_path / "other" / "run.db", database)
    with RunStore.open(run.folder) as again:
        pd.testing.assert_frame_equal(again.trials(), expected)


_WORKER = textwrap.dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from nas.store import RunStore
    from nas.trials import Batch
    with RunStore.open(Path(sys.argv[1])) as run:
        for start in range(len(run.journal.records) * 5, 10**6, 5):
            archs = np.arange(start, start + 5)[:, None]
            run.append(Batch("search", archs, {"macs": archs[:, 0] * 2.0}, {"macs": "counted"}))
            print(start + 5, flush=True)
""")


def _start_worker(folder):
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_in_the_middle_of_appends_loses_nothing_and_a_reader_never_waits(run):
    run.close()
    for delay_s in (0.0, 0.013, 0.031, 0.05):
        process = _start_worker(run.folder)
        assert process.stdout is not None
        acknowledged = int(process.stdout.readline())
        assert len(read_trials(run.folder)) >= acknowledged
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        acknowledged = max([acknowledged, *map(int, rest.split("\n")[:-1])])
        with RunStore.open(run.folder) as again:
            table = again.trials("search")
        assert len(table) >= acknowledged
        assert table.index.tolist() == list(range(1, len(table) + 1))
        assert table["arch"].tolist() == [(number,) for number in range(len(table))]
        assert table["macs"].tolist() == [2.0 * number for number in range(len(table))]


def test_two_processes_do_not_work_on_one_run(run):
    second = _start_worker(run.folder)
    _, errors = second.communicate(timeout=30)
    assert second.returncode != 0
    assert f"being worked on by process {os.getpid()} on " in errors
    run.close()
    with RunStore.open(run.folder):
        pass


def test_the_lock_of_a_dead_process_is_taken_over(run):
    run.close()
    process = _start_worker(run.folder)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(InputError, match=f"process {process.pid} "):
        RunStore.open(run.folder)
    process.kill()
    process.communicate()
    with RunStore.open(run.folder):
        pass


def test_a_full_disk_says_so_and_loses_nothing(run, monkeypatch):
    run.append(_batch(0, 5))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(InputError, match="no space left"):
            run.append(_batch(5, 5))
    run.close()
    with RunStore.open(run.folder) as again:
        assert len(again.trials()) == 5
        again.append(_batch(5, 5))
        assert len(again.trials()) == 10


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_disk_says_so_and_loses_nothing(small_disk, tmp_path):
    folder = small_disk / "run"
    run = RunStore.create(folder, **_FILES)
    kept = 0

    def fill():
        nonlocal kept
        for start in range(0, 10**6, 20):
            run.append(_batch(start, 20))
            kept = start + 20

    with pytest.raises(InputError, match=r"no space left: \d+ (bytes|KiB) free in .*resume"):
        fill()
    run.close()
    assert kept > 0
    with pytest.raises(InputError, match="no space left"):
        store_module.write_text(folder / "config.yaml", "x" * 2**20)
    assert (folder / "config.yaml").read_text() == _FILES["config"]
    shutil.copytree(folder, tmp_path / "larger")
    with RunStore.open(tmp_path / "larger") as again:
        assert len(again.trials()) >= kept
        again.append(_batch(10**6, 20))


def test_stages_are_marked_with_their_facts(run):
    assert not run.done("label")
    run.mark_done("label", seconds=1.5)
    run.mark_done("search", seconds=2.5)
    run.close()
    with RunStore.open(run.folder) as again:
        assert again.done("label")
        assert not again.done("front")
    assert stage_facts(run.folder) == {"label": {"seconds": 1.5}, "search": {"seconds": 2.5}}
    (run.folder / "stages" / "label.json").write_text("{")
    with pytest.raises(InputError, match=r"label\.json: not whole .*: delete it"):
        stage_facts(run.folder)


def test_the_same_front_gives_the_same_bytes_in_any_order(run):
    run.append(_batch(0, 6))
    table = run.trials("search")
    path = run.write_pareto(table, by="latency_ms@cpu")
    first = path.read_bytes()
    run.write_pareto(table.iloc[::-1], by="latency_ms@cpu")
    assert path.read_bytes() == first
    lines = first.decode().split("\n")
    assert lines[0].startswith("id,stage,arch,accuracy,accuracy.source,")
    assert lines[2].startswith('2,search,"[1,1]",0.5,predicted,')
    back = pd.read_csv(path, index_col="id")
    np.testing.assert_array_equal(back["latency_ms@cpu"], table["latency_ms@cpu"])
    assert json.loads(back["arch"].iloc[0]) == [0, 0]


def test_the_database_can_be_asked_with_plain_sql(run):
    run.append(_batch(0, 6))
    database = sqlite3.connect(run.folder / "run.db")
    [(n,)] = database.execute(
        "SELECT count(*) FROM metrics WHERE column = 'latency_ms@cpu' AND value < 0.5"
    ).fetchall()
    database.close()
    assert n == 4


def test_a_finished_run_is_read_from_a_read_only_place(run, monkeypatch):
    run.append(_batch(0, 6))
    run.close()
    before = sorted(path.name for path in run.folder.iterdir())
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(read_trials(run.folder)) == 6
    assert sorted(path.name for path in run.folder.iterdir()) == before


def test_a_run_without_its_table_says_how_to_get_it_back(run):
    run.close()
    (run.folder / "run.db").unlink()
    with pytest.raises(InputError, match=r"run\.db: can't be read .* --resume"):
        read_trials(run.folder)
