"""`report.html` and `pareto.html`: one file each, with everything in it and nothing fetched."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from nas.ui import figures
from nas.ui.data import Comparison, Network, Number, ReportData, TableFacts, quantity

_KINDS = ("measured", "predicted")
_MODELS = {"model": "predictor", "ridge": "ridge on one-hot", "macs": "MACs alone"}
_SCORES = {
    "kendall": "Kendall tau",
    "spearman": "Spearman",
    "rmse": "RMSE",
    "within_5pct": "within 5 %",
    "within_10pct": "within 10 %",
    "coverage_90": "in 90 % interval",
    "half_width_90": "its half-width",
    "regret_top10": "top-10 regret",
}


def render_report(data: ReportData) -> str:
    """The whole report as one HTML page."""
    sections = {
        "front": ("Front", _front(data)),
        "accuracy-of-estimates": ("Predicted and verified", _comparisons(data)),
        "predictors": ("Predictors", _predictors(data)),
        "tables": ("Latency tables", "".join(map(_table_facts, data.tables))),
        "search": ("Search", _search(data)),
        "run": ("Run", _run(data)),
    }
    there = {name: section for name, section in sections.items() if section[1]}
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in there.items())
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{content}</section>'
        for name, (title, content) in there.items()
    )
    return _page(data, f"<nav>{links}</nav>{_facts(data)}", body)


def render_front(data: ReportData) -> str:
    """The front alone, as one HTML page."""
    return _page(data, "", f"<section><h2>Front</h2>{_front(data)}</section>")


def _page(data: ReportData, head: str, body: str) -> str:
    from plotly.offline import get_plotlyjs

    style = resources.files("nas.ui").joinpath("report.css").read_text("utf-8")
    goals = " and ".join(
        f"{'highest' if objective.goal == 'max' else 'lowest'} {quantity(objective.column).title}"
        for objective in data.objectives
    )
    summary = f"Searched for {goals}; {data.n_evaluated:,} networks evaluated."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.name)} · hwnas</title><style>{style}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>"
        f"<header><h1>{escape(data.name)}</h1><p>{escape(summary)}</p>{head}</header>{body}"
        f"<footer>hwnas {escape(str(data.environment.get('hwnas', '')))}</footer>"
        "</main></body></html>\n"
    )


def _facts(data: ReportData) -> str:
    facts = [(str(len(data.networks)), f"networks on the front, {len(data.verified)} verified")]
    kind = "measured" if data.verified else "predicted"
    pool: list[Mapping[str, Number]] = [getattr(n, kind) for n in data.verified or data.networks]
    for objective in data.objectives:
        having = [numbers for numbers in pool if objective.column in numbers]
        if having:
            pick = max if objective.goal == "max" else min
            best = pick(having, key=lambda numbers: numbers[objective.column].value)
            what, number = quantity(objective.column), best[objective.column]
            text = f"{'highest' if pick is max else 'lowest'} {what.title}, {number.source}"
            if objective.column == "accuracy" and "test_accuracy" in best:
                text += f"; {what.text(best['test_accuracy'].value)} on the test images"
            facts.append((what.text(number.value), text))
    if data.seconds:
        facts.append((_duration(sum(data.seconds.values())), "in all stages together"))
    cards = (
        f'<div class="fact"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
        for value, text in facts
    )
    return f'<div class="facts">{"".join(cards)}</div>'


def _front(data: ReportData) -> str:
    columns = [objective.column for objective in data.objectives]
    if not data.networks:
        return "<p>No network met all constraints.</p>"
    plots = "".join(figures.front(data, x, columns[0]) for x in columns[1:])
    return (
        "<p>Each point is a network that no other one beats in all objectives. Blue: as the search "
        "estimated it, the bars are the bounds of the estimate. Orange: verified at the end. Move "
        "over a point to see its architecture; <code>nas export RUN/ID</code> exports it.</p>"
        f"{_constraints(data)}{plots}{_network_table(data)}"
    )


def _constraints(data: ReportData) -> str:
    """Each bound in words, and how many of the verified networks keep to it."""
    lines = []
    for constraint in data.constraints:
        what = quantity(constraint.column)
        sides = (("at least", constraint.lower, 1), ("at most", constraint.upper, -1))
        for words, bound, sign in sides:
            if bound is None:
                continue
            line = f"{what.title} {words} {what.text(bound)}"
            if constraint.probability is not None:
                line += f" with a probability of {100 * constraint.probability:g} %"
            known = [
                n.measured[constraint.column]
                for n in data.verified
                if constraint.column in n.measured
            ]
            if known:
                kept = sum(sign * (number.value - bound) >= 0 for number in known)
                line += f": {kept} of {len(known)} verified networks keep to it"
            lines.append(f"<li>{escape(line)}</li>")
    return f"<p>Constraints:</p><ul>{''.join(lines)}</ul>" if lines else ""


def _network_table(data: ReportData) -> str:
    networks = data.verified or list(data.networks)
    columns = list(dict.fromkeys(c for n in networks for c in [*n.measured, *n.predicted]))
    first = data.objectives[0]
    networks.sort(key=lambda n: n.either[first.column].value, reverse=first.goal == "max")
    kinds = (*_KINDS, "either")
    sources = {(c, kind): _sources(networks, c, kind) for c in columns for kind in kinds}
    head = ["id", *(_head(column, sources) for column in columns)]
    rows = [
        [
            str(network.trial),
            *(_cell(network, column, sources) for column in columns),
        ]
        for network in networks
    ]
    title = "Verified networks" if data.verified else "Networks, not verified yet"
    table = _table(head, rows, numbers=len(columns) + 1)
    return f"<h3>{title}</h3>{table}{_architectures(networks)}"


def _sources(networks: Sequence[Network], column: str, kind: str) -> list[str]:
    numbers = [getattr(network, kind).get(column) for network in networks]
    return list(dict.fromkeys(number.source for number in numbers if number))


def _head(column: str, sources: Mapping[tuple[str, str], list[str]]) -> str:
    """The column's title with the source of its numbers, where all have the same."""
    lines = [
        f'<small class="{kind}">{escape(sources[column, kind][0])}</small>'
        for kind in _shown(column, sources)
        if len(sources[column, kind]) == 1
    ]
    return escape(quantity(column).axis) + "".join(lines)


def _shown(column: str, sources: Mapping[tuple[str, str], list[str]]) -> list[str]:
    # What both stages counted alike is shown once, in neither's colour.
    if sources[column, "measured"] == sources[column, "predicted"]:
        return ["either"]
    return [kind for kind in _KINDS if sources[column, kind]]


def _cell(network: Network, column: str, sources: Mapping[tuple[str, str], list[str]]) -> str:
    parts = []
    for kind in _shown(column, sources):
        number = getattr(network, kind).get(column)
        if number is not None:
            several = len(sources[column, kind]) > 1
            text = _number(number, column) + (f" {escape(number.source)}" if several else "")
            parts.append(f'<span class="{kind}">{text}</span>')
    return "<br>".join(parts)


def _number(number: Number, column: str) -> str:
    what = quantity(column)
    text = what.digits(number.value)
    if np.isfinite(number.upper - number.lower):
        bounds = f"{what.digits(number.lower)} to {what.digits(number.upper)}"
        text += f" <small>{bounds}</small>"
    return text


def _architectures(networks: Sequence[Network]) -> str:
    rows = [
        [str(network.trial), "<br>".join(map(escape, figures.described(network.choices)))]
        for network in networks
    ]
    table = _table(["id", "choices"], rows)
    return f"<details><summary>architectures of these networks</summary>{table}</details>"


def _comparisons(data: ReportData) -> str:
    if not data.comparisons:
        return ""
    parts = "".join(
        _comparison(c, f"comparison-{number}") for number, c in enumerate(data.comparisons)
    )
    return (
        "<p>Predictions steer the search, what is verified decides. On the line, both are equal; "
        f'the bars are the bounds that the estimate claimed.</p><div class="pair">{parts}</div>'
    )


def _comparison(data: Comparison, name: str) -> str:
    what = quantity(data.column)
    error = np.abs(data.predicted - data.measured)
    relative = error / np.abs(data.measured)
    mean = what.text(float(error.mean()))
    facts = [f"{len(data.measured)} {data.networks}"]
    if what.unit == "%":
        facts.append(f"mean error {mean.removesuffix(' %')} percentage points")
    else:
        facts.append(f"mean error {mean}, {100 * relative.mean():.1f} % of what was {data.source}")
        facts.append(f"within 5 %: {100 * np.mean(relative <= 0.05):.0f} %")
    if len(data.measured) > 2:
        facts.append(f"rank correlation (Spearman) {_spearman(data):.3f}")
    bounded = np.isfinite(data.upper - data.lower)
    if bounded.any():
        inside = (data.lower <= data.measured) & (data.measured <= data.upper)
        facts.append(f"inside the bounds: {100 * inside[bounded].mean():.0f} %")
    return (
        f"<div><h3>{escape(what.title.capitalize())}</h3>{figures.comparison(data, name)}"
        f'<p class="note">{escape("; ".join(facts))}.</p></div>'
    )


def _spearman(data: Comparison) -> float:
    from predictors.metrics import spearman

    return spearman(data.measured, data.predicted)


def _predictors(data: ReportData) -> str:
    parts = []
    for metric, report in data.predictors.items():
        models = [name for name in _MODELS if report.get(name)]
        rows = [[_MODELS[name], *(_score(report[name], key) for key in _SCORES)] for name in models]
        gains = "; ".join(
            f"Kendall tau over {_MODELS[name]}: "
            f"{report['model']['kendall'] - report[name]['kendall']:+.3f} "
            f"({low:+.3f} to {high:+.3f})"
            for name, (low, high) in report["model"]["kendall_over"].items()
        )
        plot = figures.comparison(data.held_out[metric], f"held-out-{metric}")
        parts.append(
            f"<h3>{escape(quantity(metric).title.capitalize())}</h3>"
            f"<p>Learned from {report['n_train']} networks that were evaluated and tested on "
            f"{report['n_test']} others that neither it nor its baselines saw. Below each figure "
            "is its 95 % bootstrap interval.</p>"
            f"{_table(['', *_SCORES.values()], rows, numbers=len(_SCORES), first_number=1)}"
            f'<p class="note">{escape(gains)}.</p>{plot}'
        )
    return "".join(parts)


def _score(scores: Mapping[str, Any], key: str) -> str:
    low, high = scores["intervals"][key]
    return f"{scores[key]:.4g}<br><small>{low:.3g} to {high:.3g}</small>"


def _table_facts(facts: TableFacts) -> str:
    missing = len(facts.missing)
    how = {
        "measured": "measured on this device",
        "transferred": "transferred from other devices by what was measured on this one",
    }.get(facts.source, f"{facts.source} by its compiler, without the device")
    lines = [
        f"{facts.measured} of the {facts.needed} distinct blocks that the space can emit were {how}"
        + (f"; {missing} are missing, and networks with them have no estimate." if missing else ".")
    ]
    if facts.interpolated:
        lines.append(
            f"{facts.interpolated} more were interpolated from blocks of the same kind; of those "
            f"that are known it missed the ones left out by {facts.interpolation_error:.1%}."
        )
    if facts.networks:
        lines.append(
            f"What a sum of blocks misses, and the bounds, were fitted on {facts.networks} whole "
            f"networks {'measured' if facts.source == 'transferred' else facts.source} end to end."
        )
    sessions = [{key: _word(value) for key, value in row.items()} for row in facts.provenance]
    table = (
        _table(
            [escape(key) for key in sessions[0]],
            [[escape(v) for v in s.values()] for s in sessions],
        )
        if sessions
        else ""
    )
    keys = "\n".join(map(escape, facts.missing))
    listed = (
        f"<details><summary>missing blocks</summary><pre>{keys}</pre></details>" if keys else ""
    )
    return f"<h3>{escape(facts.device)}</h3><p>{' '.join(lines)}</p>{listed}{table}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not known" if value is None else str(value)


def _search(data: ReportData) -> str:
    if not data.progress:
        return ""
    ends = "; ".join(
        f"{escape(curve.algorithm)} {curve.hypervolume[-1]:.5g} after {curve.evaluations[-1]:,}"
        for curve in data.progress
    )
    return (
        "<p>The hypervolume is the share of the objective space that the feasible networks found "
        f"so far dominate: more is better.</p>{figures.searches(data.progress)}"
        f'<p class="note">{ends} networks.</p>'
    )


def _run(data: ReportData) -> str:
    stages = [[escape(stage), _duration(seconds)] for stage, seconds in data.seconds.items()]
    parts = []
    if stages:
        parts.append(f"<h3>Time</h3>{_table(['stage', 'time'], stages)}")
    rows = [[escape(key), escape(value)] for key, value in _flat(data.environment)]
    parts.append(f"<h3>Environment</h3>{_table(['', ''], rows)}")
    parts.append(
        "<details><summary>configuration, with all defaults</summary>"
        f"<pre>{escape(data.config)}</pre></details>"
    )
    return "".join(parts)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", _word(value)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0, first_number: int = 0
) -> str:
    """All cells are HTML already; `numbers` columns from `first_number` on stand to the right."""

    def row(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{' class=number' if 0 <= i - first_number < numbers else ''}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    top = f"<thead>{row('th', head)}</thead>" if any(head) else ""
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
