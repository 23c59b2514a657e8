"""Rules that every predictor obeys, as tests that a new one inherits in one line.

Example:
    class TestRidge(PredictorSuite):
        type = "ridge"
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from jaxtyping import Float64

from predictors import registry
from predictors.base import Predictor
from predictors.labels import LEAST_DISTINCT
from predictors.metrics import coverage, kendall_tau, rmse
from predictors.report import FitReport
from predictors.storage import ARRAYS, DESCRIPTION
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.space import Archs, Knob, SearchSpace


@dataclass(frozen=True)
class ConditionalSpace(SearchSpace):
    """Space for tests: a depth and, per block, two genes that only it reads.

    Args:
        blocks: the largest depth.
        options: number of values of a gene.
    """

    name = "conditional"
    version = 1

    blocks: int = 5
    options: int = 3

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """Depth, then the genes block by block."""
        genes = [f"block{i}.{gene}" for i in range(self.blocks) for gene in ("first", "second")]
        return (
            Knob("depth", tuple(range(1, self.blocks + 1))),
            *(Knob(name, tuple(range(self.options))) for name in genes),
        )

    def define(self, b: Builder) -> Tensor:
        """Blocks in a chain; the first gene is a width, the second a kernel size."""

        def body(x: Tensor, i: int) -> Tensor:
            y = b.pointwise("wide", x, 2 + int(b.pick(f"block{i}.first")))
            y = b.depthwise("deep", y, 1 + 2 * int(b.pick(f"block{i}.second")))
            return b.pointwise("narrow", y, 2)

        return b.repeat("depth", b.input("image", (4, 4, 2)), body)

    def macs(self, archs: Archs) -> Float64[np.ndarray, " n"]:
        """Every option of a present block adds to them."""
        genes = self.canonical(archs)[:, 1:]
        return 1e6 * (10 + 8.0 * archs[:, 0] + genes.sum(1))

    def metric(self, archs: Archs) -> Float64[np.ndarray, " n"]:
        """Additive part that saturates, and a product of neighbouring blocks."""
        genes = self.canonical(archs)[:, 1:].astype(float)
        size = 2.0 * archs[:, 0] + genes @ np.linspace(0.6, 0.1, genes.shape[1])
        pairs = (genes[:, 0::2][:, :-1] * genes[:, 1::2][:, 1:]).sum(1)
        return 60 + 30 * (1 - np.exp(-size / 6)) + 0.15 * pairs


SPACE = ConditionalSpace()


class PredictorSuite:
    """Inherit it and set `type`; the other attributes say where a predictor is weaker by nature."""

    type: ClassVar[str]
    parameters: ClassVar[Mapping[str, Any]] = {}
    least_tau: ClassVar[float] = 0.8
    # Share of the mean baseline's error that may be left.
    most_rmse: ClassVar[float] = 0.4
    # Whether unfamiliar options widen the spread.
    wider_off_data: ClassVar[bool] = True
    # Seconds of CPU time, of all cores together: other processes don't count.
    most_cpu_seconds_for_100k: ClassVar[float] = 3.0

    @classmethod
    def create(cls, seed: int = 0) -> Predictor:
        """A predictor of the test space, not fitted."""
        return registry.create(cls.type, SPACE, seed, **cls.parameters)

    @staticmethod
    def labelled(
        n: int, seed: int = 1, noise: float = 0.0
    ) -> tuple[Archs, Float64[np.ndarray, " n"]]:
        """Architectures and noisy labels."""
        rng = np.random.default_rng(seed)
        archs = SPACE.sample(rng, n)
        return archs, SPACE.metric(archs) + noise * rng.standard_normal(n)

    @pytest.fixture(scope="class")
    @classmethod
    def fit(cls) -> tuple[Predictor, FitReport]:
        """A predictor that saw 150 labels, and its report."""
        predictor = cls.create()
        return predictor, predictor.fit(*cls.labelled(150))

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, fit: tuple[Predictor, FitReport]) -> Predictor:
        """A predictor that saw 150 labels."""
        return fit[0]

    def test_beats_the_mean(self, fitted: Predictor) -> None:
        """Unseen architectures come out nearer and in a better order than a constant."""
        archs, y = self.labelled(500, seed=2)
        estimate = fitted.predict(archs).mean
        assert rmse(y, estimate) < self.most_rmse * y.std()
        assert kendall_tau(y, estimate) > self.least_tau

    def test_report_holds_for_new_data(self, fit: tuple[Predictor, FitReport]) -> None:
        """The held-out error is about the error on architectures drawn later."""
        fitted, report = fit
        archs, y = self.labelled(500, seed=3)
        assert report.n_train + report.n_test == 150
        assert 20 <= report.n_test <= 40
        assert 0.5 < rmse(y, fitted.predict(archs).mean) / report.model.rmse < 2

    def test_covers_noisy_labels(self) -> None:
        """About 90 % of new noisy labels lie in the 90 % interval."""
        archs, y = self.labelled(300, seed=4, noise=1.0)
        predictor = self.create()
        predictor.fit(archs, y)
        archs, y = self.labelled(2000, seed=5, noise=1.0)
        prediction = predictor.predict(archs)
        assert 0.83 <= coverage(y, prediction.mean, prediction.std) <= 0.97

    def test_spread_is_finite_and_positive(self, fitted: Predictor) -> None:
        """So a user can divide by it."""
        prediction = fitted.predict(SPACE.sample(np.random.default_rng(6), 1000))
        assert np.all(np.isfinite(prediction.mean))
        assert np.all(np.isfinite(prediction.std))
        assert np.all(prediction.std > 0)

    def test_spread_grows_off_data(self) -> None:
        """Options that no labelled architecture has are less certain, on average."""
        archs, y = self.labelled(600, seed=7, noise=0.3)
        last = SPACE.options - 1
        near = ~np.any(archs[:, 1:] == last, axis=1)
        near_archs, near_y = archs[near], y[near]
        predictor = self.create()
        predictor.fit(near_archs[: len(near_y) // 2], near_y[: len(near_y) // 2])
        inside = predictor.predict(near_archs[len(near_y) // 2 :]).std
        outside = predictor.predict(archs[np.sum(archs[:, 1:] == last, axis=1) >= 2]).std
        if self.wider_off_data:
            assert np.median(outside) > 1.2 * np.median(inside)
        else:
            assert np.median(outside) > 0.8 * np.median(inside)

    def test_same_seed_same_estimates(self, fitted: Predictor) -> None:
        """A fit is a function of labels and seed."""
        again = self.create()
        again.fit(*self.labelled(150))
        archs = SPACE.sample(np.random.default_rng(8), 100)
        first, second = fitted.predict(archs), again.predict(archs)
        assert np.array_equal(first.mean, second.mean)
        assert np.array_equal(first.std, second.std)

    def test_estimates_do_not_depend_on_company(self, fitted: Predictor) -> None:
        """An architecture is worth the same alone and in a population."""
        archs = SPACE.sample(np.random.default_rng(9), 200)
        whole, part = fitted.predict(archs), fitted.predict(archs[:1])
        assert part.mean == pytest.approx(whole.mean[:1], rel=1e-5)
        assert part.std == pytest.approx(whole.std[:1], rel=1e-3)
        assert fitted.predict(archs[:0]).mean.shape == (0,)

    def test_saved_and_loaded_is_equal(self, fitted: Predictor, tmp_path: Path) -> None:
        """Bit for bit, and without pickles."""
        fitted.save(tmp_path / "predictor")
        loaded = registry.load(tmp_path / "predictor", SPACE, **self.parameters)
        archs = SPACE.sample(np.random.default_rng(10), 300)
        first, second = fitted.predict(archs), loaded.predict(archs)
        assert np.array_equal(first.mean, second.mean)
        assert np.array_equal(first.std, second.std)

    @pytest.mark.parametrize("name", [DESCRIPTION, ARRAYS])
    @pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
    def test_damaged_files_are_refused(
        self, fitted: Predictor, tmp_path: Path, name: str, damage: str
    ) -> None:
        """The error names the file."""
        fitted.save(tmp_path)
        path = tmp_path / name
        data = bytearray(path.read_bytes())
        data[0] ^= 0xFF
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20] if damage == "cut" else bytes(data))
        with pytest.raises(InputError, match=name):
            self.create().load(tmp_path)

    def test_another_space_is_refused(self, fitted: Predictor, tmp_path: Path) -> None:
        """Its columns would mean something else."""
        fitted.save(tmp_path)
        with pytest.raises(InputError, match="cardinality"):
            registry.load(tmp_path, ConditionalSpace(blocks=4), **self.parameters)

    def test_100k_estimates_are_fast(self, fitted: Predictor) -> None:
        """A search asks for that many."""
        archs = SPACE.sample(np.random.default_rng(11), 100_000)
        fitted.predict(archs)
        start = time.process_time()
        fitted.predict(archs)
        assert time.process_time() - start < self.most_cpu_seconds_for_100k

    def test_constant_labels(self) -> None:
        """Nothing to learn: the constant, with a positive spread and no order."""
        archs, y = self.labelled(40)
        predictor = self.create()
        report = predictor.fit(archs, np.full_like(y, 0.5))
        prediction = predictor.predict(archs)
        assert prediction.mean == pytest.approx(0.5, abs=1e-6)
        assert np.all((prediction.std > 0) & (prediction.std < 1e-3))
        assert report.model.kendall == 0

    def test_repeated_architectures(self) -> None:
        """Repeats are data on the noise, in one part of the split, and don't count as distinct."""
        archs, y = self.labelled(60, noise=1.0)
        rng = np.random.default_rng(12)
        report = self.create().fit(
            np.repeat(archs, 3, axis=0), np.repeat(y, 3) + rng.standard_normal(180)
        )
        assert report.n_train + report.n_test == 180
        few = np.repeat(SPACE.sample(rng, LEAST_DISTINCT - 1), 5, axis=0)
        with pytest.raises(InputError, match=f"at least {LEAST_DISTINCT}"):
            self.create().fit(few, np.arange(len(few), dtype=float))

    def test_bad_labels_are_refused_all_at_once(self) -> None:
        """Too few and not finite: two lines."""
        archs, y = self.labelled(5)
        y[3] = np.nan
        with pytest.raises(InputError) as error:
            self.create().fit(archs, y)
        assert len(error.value.problems) == 2

    def test_labels_of_any_scale(self) -> None:
        """Percent or share: estimates and spread scale with the labels."""
        archs, y = self.labelled(80)
        new = SPACE.sample(np.random.default_rng(13), 50)
        percent, share = self.create(), self.create()
        percent.fit(archs, y)
        share.fit(archs, y / 100)
        first, second = percent.predict(new), share.predict(new)
        assert second.mean * 100 == pytest.approx(first.mean, rel=1e-3)
        assert second.std * 100 == pytest.approx(first.std, rel=0.05)
