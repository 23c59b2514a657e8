import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.journal import Journal, read
from search_spaces.errors import InputError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40)
@given(records=st.lists(st.dictionaries(st.text(), _JSON, max_size=3), max_size=5))
def test_what_is_appended_comes_back(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path)
    for record in records:
        journal.append(record)
    journal.close()
    assert read(path).records == records
    again = Journal(path)
    assert again.records == records
    assert again.digest() == journal.digest()
    again.close()


def test_arrays_and_generator_state_survive_exactly(tmp_path):
    rng = np.random.default_rng(3)
    F = rng.normal(size=(4, 2))
    journal = Journal(tmp_path / "j")
    journal.append({"F": F, "rng": rng.bit_generator.state, "n": np.int64(2)})
    journal.close()
    [record] = read(tmp_path / "j").records
    np.testing.assert_array_equal(np.array(record["F"]), F)
    other = np.random.default_rng()
    other.bit_generator.state = record["rng"]
    assert other.random() == rng.random()
    assert record["n"] == 2


def test_every_cut_of_the_file_keeps_the_whole_records(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path)
    ends = [0]
    for number in range(3):
        journal.append({"number": number, "text": "ä\n" * number})
        ends.append(path.stat().st_size)
    journal.close()
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends) - 1
        reopened = Journal(path)
        assert [record["number"] for record in reopened.records] == list(range(whole))
        assert path.stat().st_size == ends[whole]
        reopened.append({"number": whole})
        reopened.close()
        assert [record["number"] for record in read(path).records] == list(range(whole + 1))


def test_damage_in_the_middle_names_the_line_and_changes_nothing(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path)
    for number in range(3):
        journal.append({"number": number})
    journal.close()
    damaged = path.read_bytes().replace(b'"number": 1', b'"number": 7')
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"j:2: damaged record"):
        Journal(path)
    assert path.read_bytes() == damaged


def test_a_full_disk_in_the_middle_of_a_record_leaves_the_earlier_ones(tmp_path, monkeypatch):
    path = tmp_path / "j"
    journal = Journal(path)
    journal.append({"number": 0})
    real = os.pwrite

    def half(descriptor, data, offset):
        if len(data) > 10:
            return real(descriptor, data[:10], offset)
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        with pytest.raises(InputError, match="no space left"):
            journal.append({"number": 1})
    assert read(path).n_bytes == path.stat().st_size
    journal.append({"number": 2})
    journal.close()
    assert [record["number"] for record in read(path).records] == [0, 2]


def test_kill_at_any_moment_loses_no_acknowledged_record(tmp_path):
    path = tmp_path / "j"
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from nas.journal import Journal
        journal = Journal(Path(sys.argv[1]))
        for number in range(len(journal.records), 10**6):
            journal.append({"number": number, "filler": "x" * (number * 37 % 5000)})
            print(number, flush=True)
    """)
    acknowledged = -1
    for delay in (0.0, 0.011, 0.023, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged = int(process.stdout.readline())
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split("\n")[:-1])])
        process.wait()
        process.stdout.close()
        numbers = [record["number"] for record in read(path).records]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > acknowledged


def test_the_file_is_plain_json_lines(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append({"kind": "tell", "generation": 0})
    journal.close()
    [line] = (tmp_path / "j").read_text().splitlines()
    assert json.loads(line)["record"] == {"kind": "tell", "generation": 0}
