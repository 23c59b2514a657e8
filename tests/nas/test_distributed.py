import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from nas.distributed import evaluator_pool
from search_spaces.errors import InputError, RunError


def _make(shared):
    # Local classes and functions travel to the workers by value: they can't import the tests.
    class Evaluator:
        def evaluate(self, archs):
            import os
            import signal
            import time
            from pathlib import Path

            from search_spaces.errors import InputError

            deaths = Path(shared["deaths"])
            if (archs < 0).any():
                raise InputError(
                    "negative choice",
                )
            if (archs >= 1000).any():
                os.kill(os.getpid(), signal.SIGKILL)
            if (archs == 50).any() and len(list(deaths.iterdir())) < shared["times"]:
                (deaths / f"{os.getpid()}").write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01 * (archs[0, 0] % 3))
            weight = shared["weight"]
            return {
                "value": np.sin(archs @ weight),
                "batch": np.full(len(archs), archs[0, 0]),
                "pid": np.full(len(archs), os.getpid()),
                "cores": np.full(len(archs), len(os.sched_getaffinity(0))),
                "writeable": np.full(len(archs), 1.0 * weight.flags.writeable),
            }

    return Evaluator()


def _shared(folder, times=0):
    folder.mkdir()
    weight = np.random.default_rng(0).normal(size=2)
    return {"weight": weight, "deaths": str(folder), "times": times}


_ARCHS = np.arange(86).reshape(43, 2)


def test_without_workers_ray_is_not_imported(tmp_path):
    script = textwrap.dedent("""
        import sys
        import numpy as np
        from nas.distributed import evaluator_pool
        class Evaluator:
            def evaluate(self, archs):
                return {"sum": archs.sum(axis=1) * 1.0}
        with evaluator_pool(lambda shared: Evaluator(), None, 0) as pool:
            print(pool.evaluate(np.arange(40).reshape(20, 2))["sum"].tolist())
        assert not {"ray", "jax"} & set(sys.modules)
    """)
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str([4.0 * i + 1 for i in range(20)])


def test_networks_are_handed_over_in_batches_and_come_back_in_order(tmp_path):
    with evaluator_pool(_make, _shared(tmp_path / "d"), 0, batch=5) as pool:
        columns = pool.evaluate(_ARCHS)
        assert pool.evaluate(_ARCHS[:0]) == {}
    expected = np.sin(_ARCHS @ _shared(tmp_path / "e")["weight"])
    np.testing.assert_allclose(columns["value"], expected, rtol=1e-12)
    assert columns["batch"].tolist() == [10 * (i // 5) for i in range(43)]


def test_workers_that_do_not_start_are_told(monkeypatch):
    ray = pytest.importorskip("ray")

    def late(**_):
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray, "init", late)
    with (
        pytest.raises(RunError, match=r"did not start: .* timed out .*; continue with --resume"),
        evaluator_pool(lambda _: _Uneven(), None, 1, batch=1),
    ):
        pass


class _Uneven:
    """Tells more of some networks than of others."""

    def evaluate(self, archs):
        columns = {"sum": archs.sum(1).astype(float)}
        return columns | ({"more": np.ones(len(archs))} if archs[0, 0] % 2 else {})


def test_columns_that_only_some_batches_have_are_kept():
    archs = np.arange(8)[:, None]
    with evaluator_pool(lambda _: _Uneven(), None, 0, batch=1) as pool:
        for rows in (archs, archs[::-1]):
            found = pool.evaluate(rows)
            np.testing.assert_array_equal(found["sum"], rows[:, 0])
            np.testing.assert_array_equal(np.isnan(found["more"]), rows[:, 0] % 2 == 0)


@pytest.mark.parametrize(("workers", "batch"), [(-1, 8), (2, 0)])
def test_a_senseless_number_of_workers_is_refused(workers, batch):
    with (
        pytest.raises(InputError, match="at least 0 and 1"),
        evaluator_pool(_make, {}, workers, batch=batch),
    ):
        pass


@pytest.mark.slow
def test_workers_give_the_same_numbers_also_when_they_die(tmp_path):
    with evaluator_pool(_make, _shared(tmp_path / "none"), 0, batch=22) as pool:
        expected = pool.evaluate(_ARCHS)
    shared = _shared(tmp_path / "once", times=1)
    with evaluator_pool(_make, shared, 2, batch=22, retries=1) as pool:
        got = pool.evaluate(_ARCHS)
        for column in ("value", "batch"):
            np.testing.assert_array_equal(got[column], expected[column])
        assert len(list((tmp_path / "once").iterdir())) == 1
        assert os.getpid() not in got["pid"]
        assert set(got["cores"]) == {max(1, len(os.sched_getaffinity(0)) // 2)}
        assert not got["writeable"].any()

        for pid in set(got["pid"].tolist()):
            os.kill(pid, signal.SIGKILL)
        np.testing.assert_array_equal(pool.evaluate(_ARCHS)["value"], expected["value"])

        with pytest.raises(InputError, match=r"^negative choice$"):
            pool.evaluate(-_ARCHS[:3])
        with pytest.raises(RunError, match="a worker died 2 times over the same 3 networks"):
            pool.evaluate(_ARCHS[:3] + 1000)


def _of_session(session):
    """Command lines of a session's processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = stat.with_name("cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(command.replace("\0", " "))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_kill_leave_no_process_behind(number):
    script = textwrap.dedent("""
        import signal
        # A shell that starts the tests in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import numpy as np
        from nas.distributed import evaluator_pool
        class Slow:
            def evaluate(self, archs):
                import time
                time.sleep(60 * archs[0, 0])
                return {"x": archs[:, 0] * 1.0}
        with evaluator_pool(lambda shared: Slow(), None, 2) as pool:
            pool.evaluate(np.zeros((20, 1), int))
            try:
                print("busy", flush=True)
                pool.evaluate(np.ones((20, 1), int))
            except KeyboardInterrupt:
                # The workers did not take the Ctrl-C that went to the whole terminal.
                print(pool.evaluate(np.zeros((20, 1), int))["x"].sum(), flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    assert len(_of_session(process.pid)) > 1
    if number == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert out == "0.0\n", errors
        assert _of_session(process.pid) == []
        return
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    # Ray's own agents look for their parent less often; they hold neither files nor cores.
    while any("Agent" not in command for command in _of_session(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
