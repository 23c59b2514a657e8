"""The report's figures, as fragments of HTML that share one copy of plotly."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.ui.data import Comparison, Network, Number, Progress, ReportData, quantity

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_INK, _MUTED, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_CLOUD, _PREDICTED, _MEASURED = "#cbd2d9", "#2563a8", "#c2571a"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def front(data: ReportData, x: str, y: str) -> str:
    """The front of two columns: evaluated, estimated and measured networks."""
    figure = _figure(quantity(x).axis, quantity(y).axis, height=520)
    if x in data.evaluated and y in data.evaluated:
        figure.add_scattergl(
            x=data.evaluated[x] * quantity(x).factor,
            y=data.evaluated[y] * quantity(y).factor,
            mode="markers",
            name="evaluated by the search",
            marker={"size": 4, "color": _CLOUD},
            hoverinfo="skip",
        )
    estimated = [n for n in data.networks if x in n.predicted and y in n.predicted]
    estimated.sort(key=lambda network: network.predicted[x].value)
    _networks(figure, estimated, x, y, "predicted")
    _networks(figure, [n for n in data.verified if {x, y} <= n.measured.keys()], x, y, "measured")
    return _html(figure, f"front-{x}-{y}")


def _networks(figure: "Figure", networks: Sequence[Network], x: str, y: str, kind: str) -> None:
    measured = kind == "measured"
    numbers = [network.measured if measured else network.predicted for network in networks]
    figure.add_scatter(
        x=[number[x].value * quantity(x).factor for number in numbers],
        y=[number[y].value * quantity(y).factor for number in numbers],
        error_x=_error([number[x] for number in numbers], quantity(x).factor),
        error_y=_error([number[y] for number in numbers], quantity(y).factor),
        mode="markers" if measured else "lines+markers",
        name=f"{_source(numbers, x)} at the end" if measured else "front of the search, estimated",
        line={"color": _PREDICTED, "width": 1, "dash": "dot"},
        marker={
            "size": 10 if measured else 8,
            "color": _MEASURED if measured else "#ffffff",
            "line": {"color": "#ffffff" if measured else _PREDICTED, "width": 1.5},
        },
        hovertext=[_hover(network) for network in networks],
        hoverinfo="text",
    )


def _source(numbers: Sequence[Mapping[str, Number]], x: str) -> str:
    """What may be said of verified networks: `measured` only if they were."""
    return "estimated" if any(n[x].source == "estimated" for n in numbers) else "measured"


def _error(numbers: Sequence[Number], factor: float) -> dict[str, Any] | None:
    values, lower, upper = (
        np.array([getattr(number, name) for number in numbers]) * factor
        for name in ("value", "lower", "upper")
    )
    if not np.isfinite(upper - lower).any():
        return None
    bars = {"type": "data", "symmetric": False, "thickness": 1, "width": 0, "color": "#9fb3c8"}
    return {**bars, "array": upper - values, "arrayminus": values - lower}


def _hover(network: Network) -> str:
    lines = [f"<b>network {network.trial}</b>"]
    for column in dict.fromkeys([*network.measured, *network.predicted]):
        numbers = [kind[column] for kind in (network.measured, network.predicted) if column in kind]
        texts = [f"{quantity(column).text(n.value)} {escape(n.source)}" for n in numbers]
        lines.append(f"{escape(quantity(column).title)}: {', '.join(dict.fromkeys(texts))}")
    return "<br>".join([*lines, "", *map(escape, described(network.choices))])


def described(choices: Mapping[str, Any]) -> list[str]:
    """An architecture in a line a stage: `s1: depth 3 · kernel 5 3 3 · expand 4 6 3`."""
    stages: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, value in choices.items():
        stage, _, rest = name.partition(".")
        group, what = (stage, rest.rpartition(".")[2]) if rest else ("", name)
        stages[group][what].append(f"{value:g}" if isinstance(value, float) else str(value))
    lines = []
    for stage, knobs in stages.items():
        text = " · ".join(f"{name} {' '.join(values)}" for name, values in knobs.items())
        lines.append(f"{stage}: {text}" if stage else text)
    return lines


def comparison(data: Comparison, name: str) -> str:
    """Predicted against verified, with the diagonal on which they would be equal."""
    what = quantity(data.column)
    figure = _figure(f"predicted {what.axis}", f"{data.source} {what.axis}", height=400)
    x, y = data.predicted * what.factor, data.measured * what.factor
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.05 * (high - low or abs(high) or 1)
    ends = [low - margin, high + margin]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": _MUTED, "width": 1}, hoverinfo="skip"
    )
    columns = (data.predicted, data.lower, data.upper)
    numbers = [
        Number(value, "predicted", lower, upper)
        for value, lower, upper in np.stack(columns, axis=1).tolist()
    ]
    figure.add_scatter(
        x=x,
        y=y,
        error_x=_error(numbers, what.factor),
        mode="markers",
        marker={"size": 8, "color": _MEASURED, "line": {"color": "#ffffff", "width": 1}},
        hovertext=[
            f"<b>{escape(label)}</b><br>predicted {what.text(p)}<br>"
            f"{escape(data.source)} {what.text(m)}"
            for label, p, m in zip(data.labels, data.predicted, data.measured, strict=True)
        ],
        hoverinfo="text",
    )
    figure.update_layout(showlegend=False)
    return _html(figure, name)


def searches(curves: Sequence[Progress]) -> str:
    """Hypervolume against evaluations."""
    figure = _figure("networks evaluated", "hypervolume", height=340)
    for curve, color in zip(curves, [_PREDICTED, _MUTED, _MEASURED, "#3e8e7e"], strict=False):
        figure.add_scatter(
            x=curve.evaluations,
            y=curve.hypervolume,
            mode="lines",
            name=escape(curve.algorithm),
            line={"color": color, "width": 2},
        )
    return _html(figure, "searches")


def _figure(x_title: str, y_title: str, height: int) -> "Figure":
    from plotly.graph_objects import Figure

    axis = {
        "gridcolor": _GRID,
        "linecolor": _MUTED,
        "ticks": "outside",
        "tickcolor": _MUTED,
        "zeroline": False,
        "showline": True,
    }
    figure = Figure()
    figure.update_layout(
        height=height,
        margin={"l": 64, "r": 16, "t": 36, "b": 52},
        font={"family": _FONT, "size": 13, "color": _INK},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        xaxis={**axis, "title": {"text": escape(x_title)}},
        yaxis={**axis, "title": {"text": escape(y_title)}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hoverlabel={
            "bgcolor": "#ffffff",
            "bordercolor": _MUTED,
            "align": "left",
            "font": {"family": _FONT, "size": 12, "color": _INK},
        },
    )
    return figure


def _html(figure: "Figure", name: str) -> str:
    return figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id="".join(c if c.isalnum() else "-" for c in name),
        config={
            "displaylogo": False,
            "responsive": True,
            "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
        },
    )
