import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.dataset import Dataset, Split, statistics
from nas.data.split import stratified

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(np.array)


@given(labels=LABELS, share=st.floats(0.01, 0.89), seed=st.integers(0, 2**31))
def test_a_split_parts_every_class_in_the_share(labels, share, seed):
    kept, held = stratified(labels, share, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    for label in np.unique(labels):
        n = (labels == label).sum()
        n_held = (labels[held] == label).sum()
        assert n_held < n
        assert n_held >= min(1, n - 1)
        assert abs(n_held - share * n) <= 1


@given(labels=LABELS, seed=st.integers(0, 2**31))
def test_a_split_depends_on_the_seed_alone(labels, seed):
    first, second = stratified(labels, 0.3, seed), stratified(labels, 0.3, seed)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_seeds_differ():
    labels = np.zeros(100, int)
    assert (stratified(labels, 0.3, 0)[1] != stratified(labels, 0.3, 1)[1]).any()


@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3, st.sampled_from([1, 3])),
    low=st.integers(0, 255),
    seed=st.integers(0, 99),
)
def test_statistics_equal_the_closed_form(shape, low, seed):
    images = np.random.default_rng(seed).integers(low, 256, shape, np.uint8)
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-5)
    expected = (images / 255).std((0, 1, 2))
    np.testing.assert_allclose(std, np.where(np.ptp(images, (0, 1, 2)) == 0, 1, expected), 1e-4)


def test_statistics_over_many_chunks():
    images = np.random.default_rng(0).integers(0, 256, (3000, 2, 2, 3), np.uint8)
    np.testing.assert_allclose(statistics(images)[1], (images / 255).std((0, 1, 2)), rtol=1e-6)


def test_the_digest_follows_every_part():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 2, 2, 1), np.uint8)
    split = Split(images, np.arange(6, dtype=np.int32) % 2)

    def digest(train: Split = split, validation: Split = split, classes=("a", "b")) -> str:
        one = np.ones(1, np.float32)
        return Dataset("x", train, validation, classes, one, one, lambda: split).digest()

    other_labels = Split(images, np.arange(1, 7, dtype=np.int32) % 2)
    other_images = Split(images ^ 1, split.labels)
    found = [
        digest(),
        digest(train=other_images),
        digest(train=other_labels),
        digest(validation=other_images),
        digest(validation=other_labels),
        digest(classes=("a", "c")),
        digest(train=split.take(np.arange(5))),
    ]
    assert len(set(found)) == len(found)
    assert digest() == digest()
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in found)


def test_a_split_needs_one_label_an_image():
    with pytest.raises(Exception, match="labels"):
        Split(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(2, np.int32))
