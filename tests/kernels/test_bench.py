import pytest

from kernels import bench
from kernels.inventory import OPERATIONS, specs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_made_for_this_device_is_compared(operation):
    smallest = min(specs(operation), key=lambda spec: spec.bytes(1))
    rows = bench.measure(smallest, batch=2, runs=1)
    names = {row.implementation for row in rows}
    assert "reference" in names
    assert not {name for name in names if name.startswith("pallas")}
    assert all(row.forward_ms > 0 and row.both_ms > 0 for row in rows)
