"""RAM by the vendor's rules, against sizes that its own tool wrote; networks published by name."""

from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.cube_ai import OVERLAPS, Overlap, activation_bytes
from experiments.benchmarks.layer_tables import Row, layers_of
from experiments.benchmarks.mcu_published import between_boards, read
from experiments.benchmarks.mcu_simulator import chosen, predicted
from experiments.benchmarks.published_networks import NETWORKS, macs_of


def _row(
    op: str, reads: str, makes: str, read: str, made: str, kernel: int = 1, stride: int = 1
) -> Row:
    number = len(reads.split())
    sides = {"kh": kernel, "kw": kernel, "stride": stride, "n_act_inputs": number}
    return {
        "op": op,
        "act_inputs": reads,
        "outputs": makes,
        "in_shape": f"1x{read}",
        "out_shape": f"1x{made}",
        **sides,
    }


@pytest.mark.parametrize(
    ("row", "scratch"),
    [
        (_row("CONV_2D", "0", "1", "10x10x16", "8x8x16", 3), 5408),
        (_row("CONV_2D", "0", "1", "10x10x16", "8x8x32", 3), 6144),
        (_row("CONV_2D", "0", "1", "10x10x3", "8x8x8", 3), 652),
        (_row("CONV_2D", "0", "1", "10x10x128", "10x10x256"), 3072),
        (_row("DEPTHWISE_CONV_2D", "0", "1", "10x10x96", "8x8x96", 3), 3556),
    ],
)
def test_scratch_memory_is_what_the_tool_declares(row: Row, scratch: int) -> None:
    """Sizes of scratch arrays in generated code; 3553 rounded up to words."""
    tensors = sum(
        np.prod([int(n) for n in str(row[k]).split("x")]) for k in ("in_shape", "out_shape")
    )
    apart = activation_bytes([row])[OVERLAPS.index(Overlap("none", "after depthwise"))]
    if row["op"] == "DEPTHWISE_CONV_2D":
        # Its output starts one of its rows below the input.
        assert apart == 10 * 10 * 96 + 8 * 96 + scratch
    else:
        assert apart == tensors + scratch


def test_padding_takes_a_copy_beside_a_map_that_is_read_again() -> None:
    rows = [
        _row("CONV_2D", "0", "1", "32x32x16", "32x32x16", 3),
        _row("ADD", "0 1", "2", "32x32x16", "32x32x16"),
    ]
    apart = dict(zip(OVERLAPS, activation_bytes(rows), strict=True))
    maps = 32 * 32 * 16
    assert apart[Overlap("strided", "all")] == 2 * maps + 34 * 34 * 16 + 5408
    assert apart[Overlap("all", "all")] == maps + 34 * 34 * 16 + 32 * 16 + 5408


def test_concatenation_copies_and_a_pool_is_part_of_its_convolution() -> None:
    rows = [
        _row("CONV_2D", "0", "1", "10x10x4", "8x8x16", 3),
        _row("MAX_POOL_2D", "1", "2", "8x8x16", "4x4x16", 2, 2),
        _row("CONV_2D", "2", "3", "4x4x16", "4x4x8"),
        _row("CONCATENATION", "2 3", "4", "4x4x16", "4x4x24"),
    ]
    pooled = 2 * 8 * 16
    scratch = 4 * 36 + 14 * 16 + 2 * 36 * 16 + pooled
    assert max(activation_bytes(rows)) == 10 * 10 * 4 + 4 * 4 * 16 + scratch
    assert min(activation_bytes(rows[2:])) >= 4 * 4 * (16 + 8 + 24)


def test_a_family_has_no_say_in_what_is_said_of_it() -> None:
    known = np.array([[1.0, 1.0, 9.0], [2.0, 2.0, 3.0]])
    published = np.array([1.0, 1.0, 3.0])
    families = ["a", "a", "b"]
    # The first way fits family a, so b is told by it; b is fitted by the second, which tells of a.
    np.testing.assert_array_equal(chosen(known, published, families), [2.0, 2.0, 9.0])
    ratio = predicted(np.array([2.0, 4.0, 30.0]), np.array([1.0, 2.0, 3.0]), families)
    np.testing.assert_allclose(ratio, [10.0, 20.0, 6.0])


@pytest.mark.parametrize(
    ("network", "mmacs"),
    [
        ("mcunet-vww1", 11.6),
        ("mcunet-in0", 6.4),
        ("mcunet-in1", 12.8),
        ("mcunet-in2", 67.3),
        ("mcunet-in3", 81.8),
        ("mcunet-in4", 125.9),
        ("ic", 12.5),
        ("ad", 0.264),
    ],
)
def test_networks_have_the_published_multiply_accumulates(network: str, mmacs: float) -> None:
    assert macs_of(NETWORKS[network]()) / 1e6 == pytest.approx(
        mmacs, abs=0.05 if mmacs > 1 else 1e-3
    )


def test_rebuilt_layers_have_the_macs_of_their_table() -> None:
    for network in ("mcunet-in0", "kws", "ic"):
        rows = NETWORKS[network]()
        assert sum(layer.macs for layer in layers_of(rows)) == macs_of(rows)


def test_systems_that_are_known_take_part(tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    folder = tmp_path / "mlperf_tiny"
    folder.mkdir()
    (folder / "results.csv").write_text(
        "round,org,system,benchmark,latency_ms\n"
        "v1,a,NUCLEO-U575ZI,ad,4.0\n"
        "v1,a,NUCLEO-U575ZI,unknown,1.0\n"
        "v1,b,NUCLEO-U575ZI,ad,8.0\n"
        "v1,b,SOMETHING,ad,8.0\n"
    )
    first, second = read(tmp_path)
    assert (first.library, second.library) == ("v1 a NUCLEO-U575ZI", "v1 b NUCLEO-U575ZI")
    assert first.simulated_ms == second.simulated_ms > 0
    assert first.published_ms == 4.0
    assert first.macs == pytest.approx(0.264, abs=1e-3)


def test_one_board_tells_of_another_where_the_library_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    pytest.importorskip("ziglang")
    folder = tmp_path / "mlperf_tiny"
    folder.mkdir()
    (folder / "results.csv").write_text(
        "round,org,system,benchmark,latency_ms\n"
        "v1,a,NUCLEO-L4R5ZI,ad,8.0\n"
        "v1,a,NUCLEO_U575ZI_Q,ad,4.0\n"
        "v1,b,NUCLEO_U575ZI_Q,ad,9.0\n"
    )
    slow, fast, _ = found = read(tmp_path)
    told = between_boards(found)
    assert set(told) == {
        "mlperf_tiny u575 from mlperf_tiny l4r5",
        "mlperf_tiny l4r5 from mlperf_tiny u575",
    }
    methods = told["mlperf_tiny u575 from mlperf_tiny l4r5"]
    [(ours_ms, published_ms)] = methods["ours"]
    assert published_ms == 4.0
    assert ours_ms / 8.0 == pytest.approx(fast.simulated_ms / slow.simulated_ms)
    assert methods["clock"] == [(8.0 * slow.clock_mhz / fast.clock_mhz, 4.0)]
