import pytest

from nas.testing.predictor_suite import SPACE, PredictorSuite
from predictors import graph_transformer
from predictors.flow_transformer import FlowTransformer


class TestRidge(PredictorSuite):
    type = "ridge"
    least_tau = 0.75


class TestGaussianProcess(PredictorSuite):
    type = "gaussian_process"


class TestAuto(PredictorSuite):
    type = "auto"


@pytest.mark.exhaustive
class TestBoosting(PredictorSuite):
    type = "boosting"
    least_tau = 0.75
    wider_off_data = False


class TestMLPEnsemble(PredictorSuite):
    type = "mlp_ensemble"


@pytest.mark.exhaustive
class TestMLPEnsembleOfOrder(PredictorSuite):
    type = "mlp_ensemble"
    parameters = {"loss": "pairwise"}  # noqa: RUF012


@pytest.mark.exhaustive
class TestGraphTransformer(PredictorSuite):
    type = "graph_transformer"
    most_cpu_seconds_for_100k = 30.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def small(cls):
        """What is tested is not how wide the networks are, which are fitted dozens of times."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graph_transformer, "_NETWORK", FlowTransformer(width=8, layers=1))
            yield


class TestMacs(PredictorSuite):
    type = "macs"
    parameters = {"macs": SPACE.macs}  # noqa: RUF012
    least_tau = 0.6
    wider_off_data = False
