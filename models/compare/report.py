"""The comparison as one self-contained HTML file; needs the extra `models`."""

import html
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from adapters.extras import needs_extra
from models.compare.rows import caught
from models.compare.run import CaseResult, EntryResult
from models.compare.source import Case
from models.compare.spec import Spec
from models.metrics import card_precision_by_day
from models.zoo.entry import ModelEntry
from vedette.clock import DAY

with needs_extra("models", "the report of a comparison"):
    import plotly.graph_objects as go

Floats = NDArray[np.float64]

POINTS = 400
"""Maximum number of points of a curve."""

_STYLE = "body{font:15px system-ui;margin:2rem auto;max-width:1100px;padding:0 1rem}td,th{padding:.2rem .6rem}"


def write(path: Path, spec: Spec, cases: list[Case], compared: list[EntryResult]) -> None:
    """Draw all curves and write the file; every curve pools the tests of all cases.

    Raises:
        UnavailableError: Plotly is not installed.
    """
    curves = [_Pooled(entry, results, cases) for entry, results in compared]
    figures = [
        ("Precision and recall", _lines(curves, _precision_recall, "recall", "precision")),
        ("ROC", _lines(curves, _roc, "false positives / honest", "recall")),
        *([("Card precision at k", _lines(curves, _card_precision, "k", "CP@k"))] if cases[0].cards else []),
        ("Cost against threshold", _lines(curves, lambda c: _cost(c, spec.contact_cost), "threshold", "major units")),
        ("Calibration", _lines(curves, _calibration, "probability", "frequency", log=True)),
        ("Mean score of honest payments by day", _lines(curves, _drift, "day", "probability")),
        ("Importance, share of each model's total", _importance(compared)),
        ("Confusion at the chosen threshold", _confusion(curves)),
        *([("Share of each scenario's frauds found there", _scenarios(curves))] if curves[0].caught else []),
    ]
    parts = [f"<!doctype html><meta charset=utf-8><title>Comparison</title><style>{_STYLE}</style>"]
    parts += [f"<h1>Comparison</h1><p>{html.escape(spec.description)} {len(cases)} tests.</p>"]
    for number, (title, figure) in enumerate(figures):
        drawing = figure.to_html(full_html=False, include_plotlyjs=number == 0)
        parts.append(f"<h2>{html.escape(title)}</h2>{drawing}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


class _Pooled:
    """The test rows of all cases, with the scores of one entry."""

    def __init__(self, entry: ModelEntry, results: list[CaseResult], cases: list[Case]) -> None:
        history = f"{entry.history} d" if entry.history else "all history"
        self.title = f"{entry.title} ({entry.features}, {history})"
        self.scores = [np.array(result.score) for result in results]
        self.tests = [case.frame.take(case.test) for case in cases]
        self.caught = caught(results, cases)
        self.thresholds = [result.outcome.figures.threshold for result in results]
        self.score: Floats = np.concatenate(self.scores)
        self.fraud: NDArray[np.bool_] = np.concatenate([test.fraud for test in self.tests])
        self.amount: NDArray[np.int64] = np.concatenate([test.amount for test in self.tests])


def _lines(curves: list[_Pooled], points: "object", x: str, y: str, *, log: bool = False) -> go.Figure:
    figure = go.Figure()
    for curve in curves:
        across, up = points(curve)  # type: ignore[operator]
        figure.add_scatter(x=across, y=up, name=curve.title, mode="lines")
    figure.update_layout(xaxis_title=x, yaxis_title=y, height=520, template="plotly_white")
    if log:
        figure.update_xaxes(type="log")
        figure.update_yaxes(type="log")
    return figure


def _thin(*columns: Floats) -> tuple[Floats, ...]:
    keep = np.unique(np.linspace(0, len(columns[0]) - 1, POINTS).astype(int))
    return tuple(column[keep] for column in columns)


def _precision_recall(curve: _Pooled) -> tuple[Floats, ...]:
    precision, recall, _ = precision_recall_curve(curve.fraud, curve.score, drop_intermediate=True)
    # Points are spread evenly over recall, as nearly all thresholds lie where no further fraud is found.
    keep = np.unique(np.searchsorted(-recall, -np.linspace(1, 0, POINTS)))
    keep = keep[keep < len(recall)]
    return recall[keep], precision[keep]


def _roc(curve: _Pooled) -> tuple[Floats, ...]:
    alarms, found, _ = roc_curve(curve.fraud, curve.score)
    return _thin(alarms, found)


def _card_precision(curve: _Pooled) -> tuple[Floats, ...]:
    tops = np.array([10, 20, 30, 50, 75, 100, 150, 200])

    def at(top: int) -> float:
        days = [
            card_precision_by_day(score, test.fraud, test.account, test.event_time // DAY, top).mean()
            for score, test in zip(curve.scores, curve.tests, strict=True)
        ]
        return float(np.mean(days))

    return tops.astype(np.float64), np.array([at(int(top)) for top in tops])


def _cost(curve: _Pooled, contact_cost: int) -> tuple[Floats, ...]:
    order = np.argsort(-curve.score, kind="stable")
    saved = np.cumsum(np.where(curve.fraud[order], curve.amount[order], -contact_cost))
    thresholds = np.linspace(0.005, 0.95, POINTS)
    flagged = np.searchsorted(-curve.score[order], -thresholds, "right")
    without = curve.amount[curve.fraud].sum()
    return thresholds, (without - np.append(0, saved)[flagged]) / 100


def _calibration(curve: _Pooled) -> tuple[Floats, ...]:
    order = np.argsort(curve.score, kind="stable")
    parts = [part for part in np.array_split(order, 20) if curve.fraud[part].any()]
    said = np.array([curve.score[part].mean() for part in parts])
    return said, np.array([curve.fraud[part].mean() for part in parts])


def _drift(curve: _Pooled) -> tuple[Floats, ...]:
    day = np.concatenate([test.event_time // DAY for test in curve.tests])
    honest = ~curve.fraud
    days, which = np.unique(day[honest], return_inverse=True)
    means = np.bincount(which, curve.score[honest]) / np.bincount(which)
    return days.astype("datetime64[D]"), means


def _importance(compared: list[EntryResult]) -> go.Figure:
    figure = go.Figure()
    for entry, results in compared:
        total: dict[str, float] = {}
        for result in results:
            for name, weight in result.outcome.importance.items():
                total[name] = total.get(name, 0.0) + weight
        everything = sum(total.values())
        if everything:
            strongest = sorted(total, key=total.__getitem__, reverse=True)[:20]
            shares = [total[name] / everything for name in strongest]
            figure.add_bar(x=strongest, y=shares, name=f"{entry.title} ({entry.features})", visible="legendonly")
    if figure.data:
        figure.data[-1].visible = True
    figure.update_layout(yaxis_title="share", height=560, template="plotly_white", showlegend=True)
    return figure


def _scenarios(curves: list[_Pooled]) -> go.Figure:
    figure = go.Figure()
    for curve in curves:
        figure.add_bar(x=list(curve.caught), y=list(curve.caught.values()), name=curve.title)
    figure.update_layout(yaxis_title="share found", height=420, template="plotly_white", showlegend=True)
    return figure


def _confusion(curves: list[_Pooled]) -> go.Figure:
    columns: list[list[str]] = [[], [], [], [], []]
    for curve in curves:
        flagged = np.concatenate(
            [score >= threshold for score, threshold in zip(curve.scores, curve.thresholds, strict=True)]
        )
        counts = [
            (flagged & curve.fraud).sum(),
            (~flagged & curve.fraud).sum(),
            (flagged & ~curve.fraud).sum(),
            (~flagged & ~curve.fraud).sum(),
        ]
        for column, text in zip(columns, [curve.title, *(f"{int(count):,}" for count in counts)], strict=True):
            column.append(text)
    names = ["model", "frauds found", "frauds missed", "false alarms", "honest let through"]
    figure = go.Figure(go.Table(header={"values": names}, cells={"values": columns, "align": ["left", "right"]}))
    figure.update_layout(height=120 + 30 * len(curves))
    return figure
