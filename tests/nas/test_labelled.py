import numpy as np
import pandas as pd
import pytest

from nas.labelled import encoded, no_better_than_guessing, of_file
from nas.testing.predictor_suite import SPACE
from search_spaces.choices import Choices
from search_spaces.errors import InputError

_SPACE = Choices(
    {"depth": (1, 2), "kernel": ("3", "5"), "second": (8, 16), "size": (32,)},
    {"second": {"depth": (2,)}},
)


@pytest.mark.parametrize(("best", "told"), [(0.13, True), (0.14, False), (0.05, True)])
def test_what_learned_nothing_is_told(best, told):
    """270 images of ten classes: by luck up to .1365."""
    warning = no_better_than_guessing(best, np.arange(270) % 10)
    assert (warning is not None) == told
    if warning:
        assert f"right on {best:.1%} of the validation images" in warning
        assert "on 10.0%: the super-network has learned next to nothing" in warning


def test_the_most_frequent_class_counts():
    assert no_better_than_guessing(0.8, np.repeat([0, 1], [80, 20])) is not None
    assert no_better_than_guessing(0.9, np.repeat([0, 1], [80, 20])) is None


def test_what_is_decoded_is_read_back(tmp_path):
    archs = SPACE.sample(np.random.default_rng(0), 20)
    table = pd.DataFrame([SPACE.decode(arch) for arch in archs])
    y = np.linspace(0.5, 0.9, 20)
    table.assign(score=y).to_csv(tmp_path / "labels.csv", index=False)
    found = of_file(SPACE, tmp_path / "labels.csv", "score")
    assert np.array_equal(found.archs, archs)
    assert found.y == pytest.approx(y)
    assert found.macs is not None
    assert (found.macs(archs) > 0).all()


def test_rows_without_a_label_are_left_out(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("depth,kernel,second,score\n1,3,,0.5\n2,5,16,\n2,3,8,0.7\n")
    found = of_file(_SPACE, path, "score")
    assert found.archs.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert found.y.tolist() == [0.5, 0.7]
    assert found.macs is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"depth": [1], "kernel": ["3"]}, "no column 'second'"),
        ({"depth": [3], "kernel": ["3"], "second": [8]}, "depth is 3 there"),
        ({"depth": [2], "kernel": ["3"], "second": [float("nan")]}, "row 1 has no second"),
    ],
)
def test_columns_that_do_not_fit(columns, message):
    with pytest.raises(InputError, match=f"x.csv: {message}"):
        encoded(_SPACE, columns, "x.csv")


def test_a_metric_that_is_not_there(tmp_path):
    (tmp_path / "x.csv").write_text("depth,kernel,second,score\n1,3,,good\n")
    with pytest.raises(InputError, match="did you mean 'score'"):
        of_file(_SPACE, tmp_path / "x.csv", "scor")
    with pytest.raises(InputError, match="more than numbers"):
        of_file(_SPACE, tmp_path / "x.csv", "score")
