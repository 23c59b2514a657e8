import numpy as np
import pytest

from hw_profiles.device import DeviceSpec, Npu, list_devices, load_device
from hw_profiles.profilers import registry
from hw_profiles.profilers.vela import Summary, Vela, summary
from hw_profiles.table import LatencyTable, settings_of
from hw_profiles.worklist import worklist
from nas.testing.device_suite import SPACE, DeviceSuite
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.builder import Builder
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.mcunet import McuNet

SMALLER, LARGER = load_device("ethosu55_128"), load_device("ethosu55_256")
DEVICES = [device for device in list_devices() if device.runner == "vela"]


class Pretended(Vela):
    """Times from MACs, where the compiler would be."""

    @property
    def runtime(self) -> str:
        return "estimate 1.0"

    def compiled(self, graph: Graph) -> Summary:
        return Summary(1.0 + count(graph).macs / 1e3, 12.5, 1.0 + count(graph).params / 1e3)


class TestVela(DeviceSuite):
    device = SMALLER

    def make(self) -> Vela:
        return Pretended(SMALLER)


def _network(width: int) -> Graph:
    b = Builder((), {})
    x = b.input("x", (16, 16, 3))
    x = b.conv("stem", x, width, 3, stride=2)
    x = b.node("pool", "global_pool", (b.activation("act", x, "relu6"),))
    return b.graph(b.pointwise("head", x, 10))


def test_the_compiler_tells_time_and_memory() -> None:
    pytest.importorskip("ethosu.vela")
    pytest.importorskip("ai_edge_litert")
    wide = [Vela(device).compiled(_network(64)) for device in (SMALLER, LARGER)]
    narrow = Vela(SMALLER).compiled(_network(8))
    assert 0 < narrow.time_us < wide[0].time_us
    assert wide[1].time_us <= wide[0].time_us
    # Input and what the first layer makes are there at once.
    assert wide[0].sram_kib >= (16 * 16 * 3 + 8 * 8 * 64) / 1024
    measured = Vela(SMALLER).measure([], [_network(8)])
    assert measured.networks[0].value_us == pytest.approx(narrow.time_us)
    assert measured.networks[0].source == "estimated"
    assert measured.networks[0].sram_kib == narrow.sram_kib
    assert measured.networks[0].flash_kib == narrow.flash_kib
    # The head's weights at least.
    assert wide[0].flash_kib - narrow.flash_kib > 56 * 10 / 1024


@pytest.mark.exhaustive
def test_blocks_tell_time_and_memory_of_whole_networks() -> None:
    pytest.importorskip("ethosu.vela")
    pytest.importorskip("ai_edge_litert")
    space = McuNet(
        resolution=(16,),
        channels=1,
        classes=3,
        stem=16,
        stem_stride=1,
        widths=(16, 24),
        strides=(2, 2),
        width=(0.5,),
        depth=(1, 2),
        kernel=(3,),
        expand=(2,),
    )
    blocks, profiler = BlockMap(space), Vela(SMALLER)
    archs = np.stack([space.smallest(), space.largest()])
    units = worklist(blocks, SMALLER)
    found = profiler.measure(units, [space.build(arch) for arch in archs])
    table = LatencyTable(SMALLER.id, settings_of(SMALLER), units=found.units)
    memory = table.bind_memory(blocks)
    assert memory is not None
    time_us = [whole.value_us for whole in found.networks]
    value_us = np.array([found.units[unit.key].value_us for unit in units])
    np.testing.assert_allclose(blocks.total(value_us, archs), time_us, rtol=0.02)
    sram_kib = [whole.sram_kib or 0.0 for whole in found.networks]
    np.testing.assert_allclose(memory.peak_sram_kib(archs), sram_kib, rtol=0.01)
    flash_kib = [whole.flash_kib or 0.0 for whole in found.networks]
    np.testing.assert_allclose(memory.flash_kib(archs), flash_kib, rtol=0.05)


def test_layers_left_to_the_cpu_are_refused() -> None:
    pytest.importorskip("ethosu.vela")
    pytest.importorskip("ai_edge_litert")
    arch = SPACE.sample(np.random.default_rng(0), 1)[0]
    with pytest.raises(InputError, match="leaves CAST, GATHER of a network to the CPU"):
        Vela(SMALLER).compiled(SPACE.build(arch))


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.id)
def test_devices_are_estimated_in_8_bits(device: DeviceSpec) -> None:
    assert (device.kind, device.dtype) == ("npu", "int8")
    assert registry.source(device) == "estimated"
    assert isinstance(registry.create(device), Vela)
    assert "no hardware" in device.description


def test_a_missing_extra_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw_profiles.mcu.toolchain.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'hwnas\[ethos\]'"):
        _ = Vela(SMALLER).runtime


def test_a_device_without_an_npu_is_refused() -> None:
    with pytest.raises(InputError, match="npu: missing"):
        Vela(SMALLER.model_copy(update={"npu": None}))


def test_what_the_compiler_does_not_know_is_told_in_a_line() -> None:
    pytest.importorskip("ethosu.vela")
    npu = Npu(accelerator="ethos-u1-1", system="none", memory="none", source="")
    with pytest.raises(InputError, match=r"vela for ethos-u1-1 failed: .*ethos-u1-1"):
        summary(b"", npu)
