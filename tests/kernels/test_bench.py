import pytest

from kernels import bench
from kernels.inventory import OPERATIONS, specs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_made_for_this_device_is_compared(operation):
    smallest = min(specs(operation), key=lambda spec: spec.bytes(1))
    rows = bench.measure(smallest, 2, 1)
    names = {row.implementation for row in rows}
    assert "reference" in names
    assert not {name for name in names if name.startswith("pallas")}
    assert all(row.forward_ms > 0 and row.both_ms > 0 for row in rows)


def test_the_share_is_of_what_limits():
    row = bench.Row("a shape", "cpu", 2.0, 4.0, 1.0, 1.0, forward_gflops=50, forward_gbytes=5)
    assert bench.Limits(100.0, 1e6).share(row) == pytest.approx(0.5)
    assert bench.Limits(1e6, 20.0).share(row) == pytest.approx(0.25)


def test_rates_are_of_the_time():
    [spec] = [spec for spec in specs("pointwise_conv") if spec.name == "4x4x80_320"]
    assert (spec.flops(1), spec.bytes(1)) == (819_200, 25_600)
    times = {(name, way): 0.5 for name in ("cpu", "reference") for way in ("forward", "both")}
    row = bench._row(spec, 1, "cpu", times, 4)
    assert (row.forward_gflops, row.forward_gbytes) == pytest.approx((1.6384, 0.0512))
