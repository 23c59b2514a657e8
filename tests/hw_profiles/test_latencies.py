"""Published latencies as devices: what is read, what is refused, and the real files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hw_profiles.device import load_device
from hw_profiles.latencies import (
    import_latencies,
    load_latencies,
    read_latencies,
    spaces_with_latencies,
)
from search_spaces.errors import InputError

DATA = Path(os.environ.get("HWNAS_BENCH_DATA", "/nowhere"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("op_a,op_b,lat_us,note\n0,skip,1500,x\n1,skip,2500,x\n1,conv,,y\n0,conv,40,y\n")
    return path


def read(file: Path, column: str = "lat_us", **changes: Any) -> Any:
    arguments = {"source": "me", "columns": ["op_*"], "unit": "us", **changes}
    return read_latencies("phone", "cells", file, column, **arguments)


def test_a_csv_becomes_a_device(table: Path) -> None:
    device = import_latencies(read(table), "gpu")
    assert (device.id, device.kind, device.runner) == ("phone", "gpu", None)
    assert spaces_with_latencies(load_device("phone")) == ["cells"]
    loaded = load_latencies(load_device("phone"), "cells")
    np.testing.assert_array_equal(loaded.latency_ms, [1.5, 2.5, 0.04])
    assert loaded.archs.to_dict("list") == {"op_a": [0, 1, 0], "op_b": ["skip", "skip", "conv"]}
    assert (loaded.origin.left_out, loaded.origin.column) == (1, "lat_us")
    assert (loaded.origin.source, loaded.origin.file) == ("me", "table.csv")


def test_a_device_holds_several_spaces_and_nothing_is_overwritten(table: Path) -> None:
    import_latencies(read(table))
    with pytest.raises(InputError, match="exists already; remove it"):
        import_latencies(read(table))
    other = read_latencies(
        "phone", "nets", table, "lat_us", source="me", columns=["op_*"], unit="us"
    )
    import_latencies(other)
    assert spaces_with_latencies(load_device("phone")) == ["cells", "nets"]
    with pytest.raises(InputError, match="no latencies of space 'cell'; of: cells, nets"):
        load_latencies(load_device("phone"), "cell")


def test_architectures_come_from_another_file(table: Path, tmp_path: Path) -> None:
    pd.DataFrame(
        {"id": [7, 8, 9], "k": [3, 5, 3], "e": [1, 1, 2], "macs": [0.5, 1.5, 2.5]}
    ).to_parquet(tmp_path / "archs.parquet")
    pd.DataFrame({"id": [9, 7], "gpu": [2.0, 1.0], "cpu": [4.0, 3.0]}).to_parquet(
        tmp_path / "times.parquet"
    )
    found = read_latencies(
        "gpu-1",
        "mb",
        tmp_path / "times.parquet",
        "gpu",
        source="me",
        archs=tmp_path / "archs.parquet",
        columns=["k", "e"],
    )
    assert found.archs.to_dict("list") == {"k": [3, 3], "e": [2, 1]}
    assert found.latency_ms.tolist() == [2.0, 1.0]
    pd.DataFrame({"id": [1], "gpu": [2.0]}).to_parquet(tmp_path / "more.parquet")
    with pytest.raises(InputError, match="1 of 1 rows are of no row of"):
        read(tmp_path / "more.parquet", "gpu", archs=tmp_path / "archs.parquet", unit="ms")
    with pytest.raises(InputError, match="no column in common"):
        read(table, archs=tmp_path / "archs.parquet")


def test_codes_with_leading_zeros_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("arch,ms\n00012,1\n10012,2\n")
    assert read(path, "ms", columns=["arch"], unit="ms").archs["arch"].tolist() == [
        "00012",
        "10012",
    ]


def test_a_network_measured_again_has_the_median(tmp_path: Path) -> None:
    path = tmp_path / "again.csv"
    rows = [f"{i},{i + 1}" for i in range(40)] + ["3,10"]
    path.write_text("\n".join(["op_a,ms", *rows]))
    found = read(path, "ms", unit="ms")
    assert (len(found.archs), found.origin.repeated) == (40, 1)
    assert found.archs["op_a"].tolist() == list(range(40))
    assert found.latency_ms[:5].tolist() == [1, 2, 3, 7, 5]


def test_rows_are_chosen(table: Path) -> None:
    found = read(table, where={"note": "x"})
    assert len(found.archs) == 2
    assert found.origin.where == {"note": "x"}
    with pytest.raises(InputError, match="no row has a number"):
        read(table, where={"note": "z"})


@pytest.mark.parametrize(
    ("text", "changes", "problem"),
    [
        ("op_a,lat_us\n0,1\n0,2\n", {}, "1 rows describe a network that .* rows 1 and 2"),
        ("op_a,lat_us\n0,1\n1,-2\n", {}, "1 values are no latency; the first is -2 in row 2"),
        ("op_a,lat_us\n0,1\n1,fast\n", {}, "the first is fast in row 2"),
        ("op_a,lat_us\n0,0\n1,inf\n", {}, "2 values are no latency"),
        ("op_a,lat_us\n0,\n1,\n", {}, "no row has a number"),
        ("op_a,lat_us\n0,1\n,2\n", {}, "'op_a' is empty in 1 rows"),
        ("op_a,lat_us\n0.5,1\n1,2\n", {}, "holds fractions.*--columns"),
        ("op_a,lat_us\n0,1\n", {"unit": "ms"}, "does not look like ms; say --unit"),
        ("op_a,lat_us\n0,1\n", {"columns": ["op_x*"]}, r"no column 'op_x\*'; columns: op_a"),
        ("op_a,lat_us\n0,1\n", {"source": " "}, "--source: say who"),
        ("op_a,lat_us\n0,1\n", {"where": {"x": "1"}}, "has no column 'x'"),
        ("op_a,time\n0,1\n", {}, "has no column 'lat_us'; columns: op_a, time"),
        ("lat_us\n1\n", {"columns": []}, "no column is left"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, text: str, changes: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read(path, **changes)


def test_files_that_can_not_be_read(tmp_path: Path, table: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"must be a \.csv or a \.parquet file"):
        read(tmp_path / "table.xlsx")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="can't be read"):
        read(tmp_path / "broken.parquet")
    with pytest.raises(InputError, match="is a throughput"):
        read(table, "throughput_a100")
    device = import_latencies(read(table))
    path = device.folder / "latencies-cells.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        load_latencies(device, "cells")


def test_the_machine_that_hwnas_runs_on_takes_no_import(table: Path) -> None:
    found = read_latencies(
        "cpu", "cells", table, "lat_us", source="me", columns=["op_*"], unit="us"
    )
    with pytest.raises(InputError, match="'cpu' is measured here"):
        import_latencies(found)


@pytest.mark.skipif(not DATA.is_dir(), reason="HWNAS_BENCH_DATA is not set")
@pytest.mark.parametrize("folder", ["nasbench201", "fbnet", "ofa_latency"])
def test_every_device_of_published_tables_can_be_imported(folder: str) -> None:
    """HELP's layout: `arch_idx` and a column a device; architectures in a file beside it."""
    file, archs = DATA / folder / "latency_ms.parquet", DATA / folder / "archs.parquet"
    times = pd.read_parquet(file)
    names = [
        c for c in pd.read_parquet(archs).columns if c.split("_")[0] in ("op", "ks", "e", "d", "r")
    ]
    for column in times.columns[1:]:
        found = read_latencies(
            f"d{column}", folder, file, column, source="HELP", archs=archs, columns=names
        )
        assert len(found.archs) == len(times)
        np.testing.assert_array_equal(found.latency_ms, times[column].to_numpy(np.float64))
