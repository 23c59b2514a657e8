from kernels.targets import GPUS, TPUS, Entry, read_ptxas

SAID = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_87'
ptxas info    : Function properties for first
    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 52 registers, used 1 barriers, 392 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_87'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 25 registers, used 1 barriers, 16512 bytes smem, 368 bytes cmem[0]
"""


def test_what_ptxas_says_of_each_kernel() -> None:
    first, second = read_ptxas(SAID)
    assert first == Entry("first", 52, 12, 0)
    assert second == Entry("second", 25, 0, 16512)


def test_a_target_says_what_xla_asks_for() -> None:
    assert "cuda_compute_capability { major: 8 minor: 0" in GPUS["sm_80"].config()
    assert "core_count: 108" in GPUS["sm_80"].config()
    assert "ACCELERATED_FEATURES" in GPUS["sm_90a"].config()
    assert "ACCELERATED_FEATURES" not in GPUS["sm_87"].config()
    assert not GPUS.keys() & TPUS.keys()
