import pytest

from nas.testing.predictor_suite import SPACE, PredictorSuite


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
    # A network of attention for each member: a search of estimates takes minutes.
    most_cpu_seconds_for_100k = 60.0


class TestMacs(PredictorSuite):
    type = "macs"
    parameters = {"macs": SPACE.macs}  # noqa: RUF012
    least_tau = 0.6
    wider_off_data = False
