from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from kernels import device_time


def plane(name, **lines):
    """A plane of a profile: nanoseconds of the events of each line."""
    return SimpleNamespace(
        name=name,
        lines=[
            SimpleNamespace(name=line, events=[SimpleNamespace(duration_ns=ns) for ns in each])
            for line, each in lines.items()
        ],
    )


def test_without_a_gpu_there_is_nothing_to_count():
    run = jax.jit(lambda x: x + 1.0)
    with pytest.raises(RuntimeError, match="saw no kernel on a GPU; it needs CUPTI"):
        device_time.device_ms({"add": lambda: run(jnp.ones(3))}, 1)


def test_only_what_streams_of_gpus_did_counts(monkeypatch):
    gpu = {"Stream #14(Compute)": [3e6, 1e6], "Stream #15(Memset)": [2e6], "Framework": [9e6]}
    planes = [plane("/host:CPU", **{"Stream of calls": [7e6]}), plane("/device:GPU:0", **gpu)]
    profile = SimpleNamespace(planes=planes)
    monkeypatch.setattr(device_time.ProfileData, "from_file", lambda _: profile)
    calls = []
    found = device_time.device_ms({"call": lambda: calls.append(1)}, 4)
    assert found == {"call": pytest.approx((3 + 1 + 2) / 4)}
    # Three to warm up.
    assert len(calls) == 3 + 4
