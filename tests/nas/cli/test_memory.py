import pytest

from hw_profiles.mcu.planner import Step, plan
from nas.cli.memory import described, print_timeline


def test_the_timeline_shows_where_tensors_lie_and_what_the_peak_is_made_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = {"image": 400, "wide": 1200, "narrow": 400, "sum": 400}
    steps = [
        Step("expand", ("image",), "wide"),
        Step("project", ("wide",), "narrow", 96),
        Step("add", ("narrow", "image"), "sum", in_place=("narrow", "image")),
    ]
    planned = plan(sizes, steps, ["image"], ["sum"])
    print_timeline(planned)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("arena of 2,096 bytes, no plan of these layers needs less")
    (peak,) = [line for line in lines if line.endswith("<- peak")]
    assert peak.startswith("project |")
    bar = peak.split("|")[1]
    # 1,600 of 2,096 bytes are read or made, 400 wait for the addition, 96 are scratch.
    assert abs(bar.count("#") - 48 * 1600 / 2096) <= 2
    assert abs(bar.count("=") - 48 * 400 / 2096) <= 2
    assert bar.count("+") in (2, 3)
    tail = lines[lines.index("the peak, project, is made of") + 1 :]
    assert [line.split()[0] for line in tail] == ["1,200", "400", "400", "96"]
    facts = described(planned)
    assert facts["peak"] == "project"
    assert [layer["used_bytes"] for layer in facts["layers"]] == [1600, 2096, 800]
