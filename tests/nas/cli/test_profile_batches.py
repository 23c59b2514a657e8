"""`nas profile --batch`: a table for each size, and what they say of throughput."""

import json
from pathlib import Path

import pytest

from hw_profiles.device import DeviceSpec
from hw_profiles.profilers import registry
from nas.testing.device_suite import FakeProfiler

SIZES = {"resolution": "[8]", "stem": 8, "widths": "[8, 16]", "strides": "[2, 1]", "head": 16}
SPACE = ["nasbench_macro", "--set=layers=[2, 2]", *(f"--set={k}={v}" for k, v in SIZES.items())]


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that takes twice as long for four times the images."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    folder = tmp_path / "devices" / "board"
    folder.mkdir(parents=True)
    (folder / "device.yaml").write_text("id: board\nkind: cpu\nrunner: fake\n")

    def create(device: DeviceSpec) -> FakeProfiler:
        return FakeProfiler(slower=device.batch**0.5)

    monkeypatch.setattr(registry, "create", create)


def test_each_batch_size_has_a_table_and_a_throughput(nas) -> None:
    command = ("profile", *SPACE, "--device", "board", "--batch", "4,1")
    found = json.loads(nas(*command, "--validate", "3", "--json").out)
    assert [one["batch"] for one in found["batches"]] == [1, 4]
    assert len({one["table"] for one in found["batches"]}) == 2
    assert all(Path(one["table"]).is_file() for one in found["batches"])
    assert all(one["validation"]["mape"] < 1e-3 for one in found["batches"])
    rates = found["images_per_s"]
    for name in ("smallest", "median", "largest"):
        assert rates["4"][name] == pytest.approx(2 * rates["1"][name], rel=1e-3)
    assert rates["1"]["smallest"] > rates["1"]["median"] > rates["1"]["largest"]
    told = nas(*command).out.splitlines()
    assert told[-4].split() == ["batch", "smallest", "median", "largest"]
    assert float(told[-3].split()[1]) == pytest.approx(rates["1"]["smallest"], abs=0.06)


@pytest.mark.parametrize("batch", ["0", "two", "1,,4", "-1"])
def test_batch_sizes_are_whole_numbers(nas, batch: str) -> None:
    refused = nas("profile", "nasbench_macro", "--device", "board", f"--batch={batch}")
    assert refused.code == 2
    assert "must be whole numbers above 0" in refused.err


def test_batch_sizes_are_for_what_is_measured_here(nas) -> None:
    refused = nas(
        *("profile", "nasbench_macro", "--device", "board", "--batch", "2"),
        *("--export-worklist", "x.zip"),
    )
    assert refused.code == 2
    assert "set `batch` in device.yaml" in refused.err
    refused = nas("profile", "nasbench_macro", "--device", "stm32f746", "--batch", "2")
    assert "takes one example at a time" in refused.err
