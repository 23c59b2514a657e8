import pytest

from kernels import bench
from kernels.inventory import OPERATIONS, specs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_made_for_this_device_is_compared(operation):
    smallest = min(specs(operation), key=lambda spec: spec.bytes(1))
    rows = bench.measure(smallest, 2, 1, bench.Limits(100.0, 10.0))
    names = {row.implementation for row in rows}
    assert "reference" in names
    assert not {name for name in names if name.startswith("pallas")}
    assert all(row.forward_ms > 0 and row.both_ms > 0 for row in rows)


def test_the_share_is_of_what_limits():
    [spec] = [spec for spec in specs("pointwise_conv") if spec.name == "4x4x80_320"]
    assert (spec.flops(1), spec.bytes(1)) == (819_200, 25_600)
    compute, memory = bench.Limits(0.8192, 1e6), bench.Limits(1e6, 0.0256)
    assert compute.share(spec, 1, 2.0) == pytest.approx(0.5)
    assert memory.share(spec, 1, 4.0) == pytest.approx(0.25)
