import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.export.numerics import compare, relative_error
from search_spaces.errors import RunError


def test_the_error_is_relative_to_each_images_largest_output():
    expected = np.array([[1.0, -100.0], [1e-3, 0.0]])
    outputs = expected + np.array([[0.0, 1.0], [1e-4, 0.0]])
    assert relative_error(outputs, expected) == pytest.approx(0.1)
    assert relative_error(outputs[:1], expected[:1]) == pytest.approx(0.01)


def test_outputs_of_zero_have_an_absolute_floor():
    zero = np.zeros((1, 2))
    assert relative_error(zero, zero) == 0
    assert relative_error(zero + 1e-8, zero) == pytest.approx(0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_never_passes(bad):
    good = np.ones((2, 2), np.float32)
    wrong = good.copy()
    wrong[1, 0] = bad
    images = np.zeros((2, 1, 1, 1), np.float32)
    for outputs, expected in ((wrong, good), (good, wrong), (wrong, wrong)):
        with pytest.raises(RunError):
            compare(
                lambda x, outputs=outputs: outputs[: len(x)],
                images,
                expected,
                batches=(2,),
                tolerance=1e9,
                runtime="test",
            )


@given(n=st.integers(1, 7), batch=st.integers(1, 8))
def test_every_image_is_run_once_in_each_batch_size(n, batch):
    images = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)
    seen: list[int] = []

    def run(x):
        seen.append(len(x))
        return x.reshape(len(x), 1)

    result = compare(
        run, images, images.reshape(n, 1), batches=(batch, 1), tolerance=0.0, runtime="test"
    )
    assert result.max_relative_error == 0
    assert sum(seen) == 2 * n
    assert max(seen) == min(n, batch)


def test_outputs_of_another_shape_are_an_error_not_a_broadcast():
    images, expected = np.zeros((2, 1, 1, 1), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(RunError, match=r"gives outputs \(2, 1\), JAX gives \(2, 3\)"):
        compare(
            lambda x: np.zeros((len(x), 1), np.float32),
            images,
            expected,
            batches=(2,),
            tolerance=1.0,
            runtime="test",
        )
