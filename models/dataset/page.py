"""The statistics of a data set as one page with charts that needs nothing else; needs the extra `models`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from adapters.extras import needs_extra
from models.dataset.explained import ExplainedDataset
from models.dataset.statistics import DatasetStatistics, NumberStatistics, TextStatistics
from models.drift import MOVED, MOVING
from vedette.clock import format_time
from vedette.money import format_amount

with needs_extra("models", "the page"):
    import plotly.graph_objects as go
    from plotly.offline import get_plotlyjs

_ENVIRONMENT = Environment(
    loader=PackageLoader("models.dataset"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_HONEST, _FRAUD = "#3b6fb6", "#c8442f"
_WEEK_COLOURS = ("#3b6fb6", "#c8442f", "#3a8f5c", "#8a5fb0", "#b9822b")
_CONFIG = {"displaylogo": False, "responsive": True}


def html_page(title: str, statistics: DatasetStatistics, explained: ExplainedDataset | None = None) -> str:
    """Return the page.

    Args:
        title: Name of the data set.
        statistics: Its statistics.
        explained: What a version of the model makes of it.
    """
    charts = [*_charts(statistics), *(_of_model(explained) if explained else ())]
    return _ENVIRONMENT.get_template("dataset.html").render(
        title=title,
        facts=_facts(statistics),
        numbers=[_number_row(one) for one in statistics.numbers],
        texts=[_text_row(one) for one in statistics.texts],
        features=[_number_row(one) for one in explained.features] if explained else [],
        model=explained.model if explained else "",
        charts=[
            {
                "title": heading, "note": note,
                "figure": figure.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG),
            }
            for heading, note, figure in charts
        ],
        plotly=get_plotlyjs(),
    )  # fmt: skip


def _facts(statistics: DatasetStatistics) -> dict[str, str]:
    imbalance = statistics.imbalance
    value = ", ".join(format_amount(minor, code) for code, minor in statistics.fraud_value.items())
    unlabelled = statistics.payments - statistics.labelled
    return {
        "payments": f"{statistics.payments:,} of {statistics.accounts:,} accounts",
        "period (UTC)": f"{format_time(statistics.first)} to {format_time(statistics.last)}",
        "frauds": f"{statistics.frauds:,} of {statistics.labelled:,} labelled payments, {value or 'no value'}",
        "imbalance": "no fraud" if imbalance is None else f"one fraud for {imbalance:,.0f} honest payments",
        "without a label": f"{unlabelled:,}",
        "amounts": f"in {statistics.currency}",
    }


def _number_row(one: NumberStatistics) -> list[str]:
    low, median, high = (one.quantiles[place] for place in (1, 3, 5)) if one.quantiles else (None, None, None)
    numbers = (one.mean, one.deviation, one.least, low, median, high, one.largest)
    return [
        one.name, _share(one.missing), f"{one.distinct:,}", *map(_brief, numbers), _share(one.outliers),
        "-" if one.correlation is None else f"{one.correlation:+.3f}", "-" if one.auc is None else f"{one.auc:.3f}",
    ]  # fmt: skip


def _text_row(one: TextStatistics) -> list[str]:
    most = ", ".join(f"{group.value or 'others'} ({group.payments:,})" for group in one.groups[:5])
    return [one.name, _share(one.missing), f"{one.distinct:,}", most or "not shown, it identifies"]


def _share(value: float) -> str:
    return f"{value:.2%}"


def _brief(value: float | None) -> str:
    return "-" if value is None else f"{value:,.5g}"


def _charts(statistics: DatasetStatistics) -> Iterator[tuple[str, str, Any]]:
    hours = statistics.hours
    figure = go.Figure()
    for is_fraud, name, colour in ((False, "honest or unlabelled", _HONEST), (True, "fraud", _FRAUD)):
        of_class = [one for one in hours if one.fraud == is_fraud]
        low, first, median, third, high = (
            zip(*(one.quantiles for one in of_class), strict=True) if of_class else [()] * 5
        )
        figure.add_trace(
            go.Box(
                x=[one.hour for one in of_class], lowerfence=low, q1=first, median=median, q3=third, upperfence=high,
                name=name, marker_color=colour, text=[f"{one.payments:,} payments" for one in of_class],
            )
        )  # fmt: skip
    figure.update_layout(boxmode="group", yaxis_type="log")
    yield (
        "Amounts by hour and class",
        f"{statistics.currency}, UTC; boxes are quartiles, whiskers 5 % and 95 %.",
        _styled(figure, "hour", "amount", 460),
    )
    yield (
        "Relation to fraud",
        (
            "The probability that a fraud has a larger value than an honest payment: 0.5 says nothing, a value far from"
            " it on either side says much."
        ),
        _relation(statistics.numbers),
    )
    for text in statistics.texts:
        if len(text.groups) > 1:
            yield f"Payments and frauds by {text.name.replace('_', ' ')}", "", _groups(text)
    for one in statistics.numbers:
        yield f"Distribution of {one.name.replace('_', ' ')}", "Each class as a share of itself.", _histogram(one)
    yield "Weeks", "Payments, and the share of frauds among them.", _weeks(statistics)
    drifts = f"Population stability index against the first complete week: above {MOVING} moving, above {MOVED} moved."
    yield "Drift over weeks", drifts, _drift(statistics)


def _of_model(explained: ExplainedDataset) -> Iterator[tuple[str, str, Any]]:
    ranked = explained.importance[::-1]
    figure = go.Figure(go.Bar(x=[one.fraction for one in ranked], y=[one.feature for one in ranked], orientation="h"))
    figure.update_traces(marker_color=_HONEST)
    yield (
        f"Importance of features in {explained.model}",
        f"Share of the mean absolute contributions to the log-odds (TreeSHAP), from {explained.payments:,} payments.",
        _styled(figure, "share", "", 120 + 22 * len(ranked)),
    )
    for one in explained.dependence:
        line = go.Scatter(x=one.values, y=one.probability, mode="lines+markers", line_color=_HONEST)
        yield (
            f"Partial dependence on {one.feature}",
            "Mean probability of fraud if every payment had this value.",
            _styled(go.Figure(line), one.feature, "probability", 340),
        )


def _relation(numbers: list[NumberStatistics]) -> Any:
    known = sorted((one for one in numbers if one.auc is not None), key=lambda one: one.auc or 0.0)
    figure = go.Figure(
        go.Bar(
            x=[(one.auc or 0.0) - 0.5 for one in known], y=[one.name for one in known], base=0.5, orientation="h",
            marker_color=_HONEST, text=[f"correlation {one.correlation:+.3f}" for one in known],
        )
    )  # fmt: skip
    return _styled(figure, "AUC", "", 140 + 28 * len(known))


def _groups(text: TextStatistics) -> Any:
    names = [group.value or "others" for group in text.groups]
    rates = [group.frauds / group.payments for group in text.groups]
    figure = go.Figure(go.Bar(x=names, y=[group.payments for group in text.groups], name="payments"))
    figure.update_traces(marker_color=_HONEST)
    figure.add_trace(
        go.Scatter(x=names, y=rates, name="share of frauds", yaxis="y2", mode="markers", marker_color=_FRAUD)
    )
    figure.update_layout(
        yaxis2={"overlaying": "y", "side": "right", "tickformat": ".2%", "rangemode": "tozero", "showgrid": False},
        xaxis_type="category",
    )
    return _styled(figure, "", "payments", 380)


def _histogram(one: NumberStatistics) -> Any:
    figure = go.Figure()
    for counts, name, colour in ((one.honest, "honest or unlabelled", _HONEST), (one.fraud, "fraud", _FRAUD)):
        total = sum(counts)
        if total:
            shares = [count / total for count in counts]
            figure.add_trace(go.Scatter(
                x=one.edges, y=[*shares, shares[-1]], name=f"{name} ({total:,})", line_shape="hv", mode="lines",
                line_color=colour,
            ))  # fmt: skip
    wide = len(one.edges) > 2 and one.edges[-1] - one.edges[-2] > 2 * (one.edges[2] - one.edges[1])
    if wide:
        figure.update_xaxes(type="log")
    return _styled(figure, one.name, "share of the class", 340)


def _weeks(statistics: DatasetStatistics) -> Any:
    starts = [format_time(week.start)[:10] for week in statistics.weeks]
    figure = go.Figure(go.Bar(x=starts, y=[week.payments for week in statistics.weeks], name="payments"))
    figure.update_traces(marker_color=_HONEST)
    rates = [week.frauds / max(week.payments, 1) for week in statistics.weeks]
    figure.add_trace(go.Scatter(x=starts, y=rates, name="share of frauds", yaxis="y2", line_color=_FRAUD))
    figure.update_layout(
        yaxis2={"overlaying": "y", "side": "right", "tickformat": ".2%", "rangemode": "tozero", "showgrid": False}
    )
    return _styled(figure, "week from", "payments", 380)


def _drift(statistics: DatasetStatistics) -> Any:
    starts = [format_time(week.start)[:10] for week in statistics.weeks]
    figure = go.Figure()
    for name, colour in zip(statistics.weeks[0].drift, _WEEK_COLOURS, strict=False):
        values = [week.drift[name] for week in statistics.weeks]
        figure.add_trace(go.Scatter(x=starts, y=values, name=name, line_color=colour))
    for level in (MOVING, MOVED):
        figure.add_hline(y=level, line_dash="dot", line_color="#888")
    return _styled(figure, "week from", "PSI", 380)


def _styled(figure: Any, x: str, y: str, height: int) -> Any:
    figure.update_layout(
        xaxis_title=x, yaxis_title=y, height=height, template="plotly_white", margin={"t": 20, "l": 60, "r": 60},
        legend={"orientation": "h", "y": 1.12},
    )  # fmt: skip
    return figure


def write_page(file: Path, page: str) -> None:
    """Write the page whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    from adapters.files import output_file  # noqa: PLC0415

    with output_file(file, "the page") as part:
        part.write_text(page, encoding="utf-8")
