"""The model card: purpose, training data, performance, fairness, and regulatory checklists."""

import math
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import markupsafe
import msgspec
from markdown_it import MarkdownIt

from features.catalogue import CATALOGUE
from features.feature import Feature
from models.evaluate import mean
from models.folder import Contract, read_booster, read_contract
from models.metrics import wilson
from models.registry.store import StandingChange, Version
from models.segments import Segment, pooled
from vedette.clock import format_time
from vedette.errors import InputError
from vedette.events import EXTRA

PURPOSE = (
    "Gives the probability that a payment is fraud, from the payment and what its account and its merchant did before; "
    "the policy turns it into approve, challenge, review or decline."
)

_FAIR = (0.8, 1.25)
"""Multiples of the overall rate of false alarms within which a segment is not reported: the four-fifths rule of the
US Uniform Guidelines on Employee Selection Procedures (1978), and its inverse."""


class Disparity(NamedTuple):
    """A segment whose honest payments are flagged at a different rate from the overall one.

    Attributes:
        segment: The segment.
        honest: Number of its honest payments.
        ratio: Its rate of false alarms over that of all payments.
        low: Lower end of the 95 % interval of the ratio.
        high: Upper end.
        certain: Whether the whole interval lies outside the range that is not reported.
    """

    segment: Segment
    honest: int
    ratio: float
    low: float
    high: float
    certain: bool


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430 }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ border-bottom: 1px solid #d5dbe3; padding: .3rem .7rem;
text-align: left; vertical-align: top }} h2 {{ margin-top: 2.5rem }} code {{ background: #f1f4f8; padding: 0 .2rem }}
</style></head><body>
{body}</body></html>
"""


def card(
    version: Version,
    folder: Path,
    *,
    previous: Contract | None,
    changes: list[StandingChange],
    answers: Mapping[str, str],
    purpose: str = PURPOSE,
) -> str:
    """Return the card as Markdown.

    Args:
        version: The registered version.
        folder: Model folder of the version.
        previous: Contract of the version that this one is compared with.
        changes: Every change of what is in service.
        answers: Answers to items of the checklists, by id.
        purpose: Purpose of the model, in a sentence or more.

    Raises:
        InputError: An answer names an unknown item.
        ModelError: The folder cannot be read.
    """
    contract = read_contract(folder)
    parts = pooled(fold.segments for fold in contract.folds)
    facts: dict[str, Any] = {
        "ref": str(version.ref),
        "number": version.number,
        "standing": version.standing,
        "purpose": purpose,
        "contract": contract,
        "previous": previous,
        "created_at": format_time(contract.created_at),
        "trained_from": format_time(contract.trained_from)[:10],
        "trained_to": format_time(contract.trained_to)[:10],
        "config": msgspec.to_builtins(contract.config),
        "folds": [(format_time(fold.test_start)[:10], fold.test) for fold in contract.folds],
        "segments": parts,
        "unequal": _unequal(parts),
        "features": _features(folder, contract),
        "differences": differences(previous, contract) if previous else [],
        "changes": [(format_time(change.at), change) for change in changes if change.version == str(version.ref)],
    }
    # The text is Markdown, whose renderer escapes HTML; text in a table must not end its cell.
    environment = jinja2.Environment(finalize=_cell, undefined=jinja2.StrictUndefined)  # noqa: S701
    environment.globals["number_or_dash"] = lambda value, form: "n/a" if value is None else form % value
    facts["checklists"] = _checklists(environment, facts, answers)
    return environment.from_string(_text("card.md.txt")).render(facts)


def html(title: str, markdown: str) -> str:
    """Return a card as a self-contained page; HTML in the text is escaped."""
    return _PAGE.format(title=markupsafe.escape(title), body=rendered(markdown))


def rendered(markdown: str) -> str:
    """Return a card as a part of a page; HTML in the text is escaped."""
    text = str(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
    return text.replace("<th></th>", "<td></td>")  # a column without a name has no header to be read out


def _checklists(
    environment: jinja2.Environment, facts: dict[str, Any], answers: Mapping[str, str]
) -> list[dict[str, Any]]:
    lists = tomllib.loads(_text("checklists.toml"))["list"]
    items = [item for entry in lists for item in entry["item"]]
    if unknown := set(answers) - {item["id"] for item in items}:
        raise InputError(
            f"no checklist has an item {min(unknown)!r}", remedy="the card names the items in its last sections"
        )
    for item in items:
        by_person = item["by_person"] = item["id"] in answers
        item["answer"] = (
            answers[item["id"]] if by_person else environment.from_string(item.get("answer", "")).render(facts)
        )
    return [{"name": entry["name"], "note": entry["note"], "items": entry["item"]} for entry in lists]


def _unequal(segments: list[Segment]) -> list[Disparity]:
    """Return the segments whose honest payments are flagged at a different rate, the most certain first."""
    overall = next((segment.false_positive_rate for segment in segments if segment.by == "all"), None)
    if not overall:
        return []
    found: list[Disparity] = []
    for segment in segments:
        honest = segment.rows - segment.frauds
        if segment.by == "all" or not honest:
            continue
        interval = wilson((segment.flagged - segment.caught) / honest, honest)
        ratio, low, high = (value / overall for value in interval)
        if not _FAIR[0] <= ratio <= _FAIR[1]:
            certain = high < _FAIR[0] or low > _FAIR[1]
            found.append(Disparity(segment, honest, ratio, low, high, certain))
    return sorted(found, key=lambda disparity: (not disparity.certain, -abs(math.log(max(disparity.ratio, 1e-3)))))


def _features(folder: Path, contract: Contract) -> list[tuple[Feature, float]]:
    """Return the features with their share of the gain, the largest first."""
    import lightgbm  # noqa: PLC0415 - takes seconds, and most who show a version show no card

    known = {feature.name: feature for feature in CATALOGUE}
    booster = lightgbm.Booster(model_str=read_booster(folder, contract))
    gains = booster.feature_importance("gain").tolist()
    total = sum(gains) or 1.0
    rows = [
        (known.get(name) or _vendor(name), gain / total) for name, gain in zip(contract.features, gains, strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1])


def _vendor(name: str) -> Feature:
    column = name.removeprefix(EXTRA)
    return Feature(name=name, meaning=f"`{column}` as it comes with the payment", unit="n/a", sources=(), reason="")


def differences(before: Contract, now: Contract) -> list[tuple[str, str, str]]:
    """Return the differences between two models in words: item, before, now."""
    rows = [
        ("trained on", _span(before), _span(now)),
        ("payments", f"{before.training_rows:,}", f"{now.training_rows:,}"),
        ("frauds", f"{before.training_frauds:,}", f"{now.training_frauds:,}"),
        ("threshold of lowest cost", f"{before.thresholds.lowest_cost:.4f}", f"{now.thresholds.lowest_cost:.4f}"),
        ("features added", "", ", ".join(sorted({*now.features} - {*before.features})) or "none"),
        ("features dropped", ", ".join(sorted({*before.features} - {*now.features})) or "none", ""),
    ]
    old, new = (mean(contract.folds) if contract.folds else {} for contract in (before, now))
    names = ("auc", "average_precision", "card_precision_100", "calibration_error")
    rows += [(name.replace("_", " "), _figure(old.get(name)), _figure(new.get(name))) for name in names]
    was, is_ = (msgspec.to_builtins(contract.config) for contract in (before, now))
    rows += [(name.replace("_", " "), str(was[name]), str(is_[name])) for name in is_ if was.get(name) != is_[name]]
    libraries = {*before.libraries, *now.libraries}
    pairs = [(name, before.libraries.get(name, "none"), now.libraries.get(name, "none")) for name in sorted(libraries)]
    return rows + [pair for pair in pairs if pair[1] != pair[2]]


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _span(contract: Contract) -> str:
    return f"{format_time(contract.trained_from)[:10]} to {format_time(contract.trained_to)[:10]}"


def _cell(value: Any) -> Any:
    return value.replace("|", "\\|").replace("\n", " ") if isinstance(value, str) else value


def _text(name: str) -> str:
    return files("models.registry").joinpath(name).read_text(encoding="utf-8")
