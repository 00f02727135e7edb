"""The metrics of all services follow Prometheus' conventions, and the manual has each of them."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scripts.metrics_page import LABELS, Described, described, page, registries

ROOT = Path(__file__).parents[2]
METRICS = sorted(described(), key=lambda each: (each.service, each.name))
WRONG_UNITS = re.compile(r"_(ms|millis|milliseconds|minutes|hours|days|us|kb|mb|percent|pct|s)(_|$)")
UNITS = ("_seconds", "_bytes", "_ratio", "_messages")
LAST_BUCKETS = {"vedette_latency_seconds": 0.2, "vedette_gateway_latency_seconds": 0.25}
"""Histograms of the goals, and the bound of each goal in seconds."""


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: f"{metric.service}-{metric.name}")
def test_a_metric_has_a_conventional_name_a_help_and_bounded_labels(metric: Described) -> None:
    """One prefix; base units at the end; only counters are totals; every label has a known bound."""
    assert re.fullmatch(r"vedette_[a-z][a-z0-9_]*", metric.name)
    assert not WRONG_UNITS.search(metric.name.removesuffix("_total"))
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_info", "_created"))
    assert metric.kind in ("counter", "gauge", "histogram")
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert not metric.help.endswith(".")
    assert set(metric.labels) <= LABELS.keys()


def test_every_service_is_scraped_as_text() -> None:
    """What a registry exposes, a parser of Prometheus' format reads, and no name means two things."""
    kinds: dict[str, set[str]] = {}
    for service, registry in registries().items():
        families = list(text_string_to_metric_families(generate_latest(registry).decode()))
        assert families, service
        for family in families:
            kinds.setdefault(family.name, set()).add(family.type)
    assert all(len(found) == 1 for found in kinds.values()), kinds


@pytest.mark.parametrize(("name", "goal"), LAST_BUCKETS.items())
def test_a_bucket_ends_at_each_goal(name: str, goal: float) -> None:
    """The share of answers within a goal is counted, not estimated between two buckets."""
    texts = [generate_latest(registry).decode() for registry in registries().values()]
    assert any(f'{name}_bucket{{le="{goal:g}"}}' in text for text in texts)


def test_the_manual_has_every_metric() -> None:
    """docs/metrics.md is what `python -m scripts.metrics_page` prints."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == page() + "\n"
