import json
import sys

from experiments.benchmarks.predictor_speed import main


def test_one_json_object_with_times_of_every_predictor(monkeypatch, capsys):
    asked = ["--space", "nasbench_macro", "--types", "ridge,macs", "--labels", "40"]
    asked += ["--n", "5000", "--seeds", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["predictor_speed", *asked])
    main()
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "predictor_speed"
    found = {(row["method"], row["metric"]): row for row in report["rows"]}
    assert len(found) == 8
    seconds, rate = found["ridge", "predict_seconds"], found["ridge", "per_second"]
    assert abs(rate["mean"] * seconds["mean"] - 5000) < 1e-6
    assert found["macs", "fit_seconds"]["n"] == 40
