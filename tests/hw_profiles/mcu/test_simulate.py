from pathlib import Path

import numpy as np
import pytest

from hw_profiles.device import Mcu, list_devices, load_device
from hw_profiles.mcu import counting, kernel_runner, random_layers, simulate
from hw_profiles.mcu.core import CORES
from hw_profiles.mcu.emulator import EmulationError, Emulator
from hw_profiles.mcu.layers import AveragePool, GlobalPool, Pointwise, Window
from hw_profiles.mcu.simulate import Simulator, of_device
from hw_profiles.mcu.timing import Timer
from hw_profiles.mcu.toolchain import build, require
from hw_profiles.profilers.mcu_simulator import McuSimulator
from hw_profiles.profilers.registry import create, source
from hw_profiles.worklist import worklist
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.mobilenet_v3 import MobileNetV3

pytest.importorskip("unicorn")
pytest.importorskip("ziglang")

MCU = Mcu(core="cortex_m4", clock_mhz=100, source="a test")
SPACE = MobileNetV3(
    resolution=(8,),
    channels=1,
    classes=4,
    stem=4,
    widths=(4, 8),
    strides=(1, 2),
    hswish=(False, True),
    squeeze_excite=(False, True),
    depth=(1, 2),
    kernel=(3,),
    expand=(2,),
    head=(8, 12),
)


def _layer(positions: int) -> Pointwise:
    return random_layers.pointwise(np.random.default_rng(0), positions, 16, 8)


def test_a_counter_in_python_sees_what_the_native_one_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _layer(4)
    x = random_layers.tensor(np.random.default_rng(1), layer.in_shape)
    native = kernel_runner.KernelRunner(CORES["cortex_m4"]).run(layer, x)

    def none(*_args: object, **_kwargs: object) -> None:
        raise NotImplementedError("no compiler")

    monkeypatch.setattr(counting, "load_library", none)
    python = kernel_runner.KernelRunner(CORES["cortex_m4"]).run(layer, x)
    assert python.blocks == native.blocks
    assert sum(block.again for block in native.blocks.values()) > 0
    assert sum(block.missed for block in native.blocks.values()) > 0


def test_twice_the_positions_take_twice_as_long() -> None:
    simulator = Simulator(MCU)
    some, twice, more = (simulator.time(_layer(n)).core_cycles for n in (10, 20, 40))
    assert more - twice == pytest.approx(2 * (twice - some), rel=0.01)


def test_simd_is_faster_than_plain_c() -> None:
    window = Window.same((9, 9), (3, 3), (1, 1))
    rng = np.random.default_rng(0)
    for layer in (_layer(20), random_layers.depthwise(rng, window, 8)):
        fast, plain = (Simulator(MCU, simd=simd).time(layer).cycles for simd in (True, False))
        assert fast < 0.7 * plain


def test_waiting_for_flash_ends_where_a_cache_keeps_the_weights() -> None:
    slow = MCU.model_copy(update={"line_cycles": 8.0})
    kept = slow.model_copy(update={"cache_bytes": 1 << 16})
    layer = _layer(20)
    none, some, once = (Simulator(one).time(layer).waiting_cycles for one in (MCU, slow, kept))
    assert none == 0
    # Two positions are computed in each pass over the weights.
    assert some == pytest.approx(10 * once)


@pytest.mark.parametrize("core", ["cortex_m4", "cortex_m7"])
def test_tall_layers_follow_from_short_ones(core: str) -> None:
    mcu = MCU.model_copy(update={"core": core})
    rng = np.random.default_rng(0)
    tall = Window.same((40, 9), (3, 3), (1, 1))
    strided = Window.padded((71, 8), 5, 2, 2)
    layers = [
        random_layers.conv(rng, tall, 4, 6),
        random_layers.depthwise(rng, tall, 9),
        random_layers.depthwise(rng, strided, 4),
        random_layers.pointwise(rng, 501, 12, 10),
        random_layers.add(rng, 700),
        AveragePool(tall, 4),
        GlobalPool(400, 6),
    ]
    for layer in layers:
        whole = Simulator(mcu, shorten=False).time(layer)
        short = Simulator(mcu).time(layer)
        assert short.core_cycles == pytest.approx(whole.core_cycles, rel=0.01)
        assert short.instructions == pytest.approx(whole.instructions, rel=0.01)


def test_a_clock_scales_time() -> None:
    layers = [_layer(4), GlobalPool(9, 5)]
    fast = MCU.model_copy(update={"clock_mhz": 200.0})
    assert Simulator(MCU).time_us(layers) == pytest.approx(2 * Simulator(fast).time_us(layers))


def test_other_kernels_are_another_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = of_device(load_device("stm32f746"))
    before = simulator.runtime
    monkeypatch.setattr(simulate, "kernels_digest", lambda: "other")
    assert simulator.runtime != before


def test_a_core_that_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="core 'z80': must be one of cortex_m4"):
        Simulator(MCU.model_copy(update={"core": "z80"}))
    with pytest.raises(InputError, match="mcu: missing"):
        of_device(load_device("cpu"))


def test_a_missing_extra_is_told_with_the_command() -> None:
    with pytest.raises(InputError, match=r"pip install 'hwnas\[mcu\]'"):
        require("no_such_package")


def test_reading_where_nothing_is_is_an_error(tmp_path: Path) -> None:
    code = tmp_path / "wild.c"
    code.write_text("int wild(void) { return *(volatile int *)0x70000000; }\n")
    core = CORES["cortex_m4"]
    emulator = Emulator(core, build((code,), core))
    with pytest.raises(EmulationError, match="wild"):
        emulator.call("wild")


def test_code_that_does_not_compile_is_told_in_a_line(tmp_path: Path) -> None:
    code = tmp_path / "bad.c"
    code.write_text("int f(void) { return x; }\n")
    with pytest.raises(InputError, match=r"cortex_m4: zig: .*error: use of undeclared"):
        build((code,), CORES["cortex_m4"])


def test_blocks_are_timed_from_their_counts() -> None:
    runner = kernel_runner.runner(CORES["cortex_m7"], True)
    layer = _layer(6)
    blocks = runner.run(layer, random_layers.tensor(np.random.default_rng(0), (6, 16))).blocks
    made = Timer(runner.emulator).cycles(blocks)
    # Two instructions a cycle at most.
    assert made.instructions / 2 < made.cycles < 3 * made.instructions


@pytest.mark.parametrize("device", [one.id for one in list_devices() if one.kind == "mcu"])
def test_devices_come_with_sizes_and_sources(device: str) -> None:
    found = load_device(device)
    assert isinstance(create(found), McuSimulator)
    assert source(found) == "simulated"
    assert found.mcu is not None
    assert found.mcu.core in CORES
    assert found.sram_bytes
    assert found.flash_bytes
    numbers = [
        line
        for line in (found.folder / "device.yaml").read_text().splitlines()
        if line.partition(":")[2].strip()[:1].isdigit()
    ]
    assert len(numbers) >= 6
    assert all("#" in line for line in numbers)


def test_blocks_add_up_to_networks() -> None:
    profiler = McuSimulator(load_device("stm32f412"))
    blocks = BlockMap(SPACE)
    units = worklist(blocks, profiler.device)
    archs = SPACE.sample(np.random.default_rng(0), 2)
    measured = profiler.measure(units, [SPACE.build(arch) for arch in archs])
    assert all(one.source == "simulated" for one in measured.units.values())
    costs = np.array([measured.units[unit.key].value_us for unit in units])
    sums = blocks.total(costs, archs)
    for total, whole in zip(sums, measured.networks, strict=True):
        # Equal geometries are run once, so only rounding differs.
        assert whole.value_us == pytest.approx(total, rel=0.002)
        # 100 MHz at 0.112 mA/MHz and 3.3 V.
        assert whole.energy_mj == pytest.approx(whole.value_us * 11.2 * 3.3 / 1e6)
