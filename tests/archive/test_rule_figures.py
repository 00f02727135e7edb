from collections.abc import Callable

from archive.rule_figures import rule_figures
from archive.search import Archive
from tests.archive.conftest import START, decision, label, payment
from vedette.settings import ArchiveSettings
from vedette.topics import Name


def test_rules_are_judged_by_what_became_known(fill: Callable[..., None], archive_settings: ArchiveSettings) -> None:
    """Hits, alone or not, frauds, false alarms, and money by currency."""
    paid = [payment(number, currency="EUR" if number % 2 else "USD", amount=100 * number) for number in range(1, 6)]
    rules = [["burst"], ["burst", "travel"], ["burst"], ["travel"], []]
    fill(
        {
            Name.TRANSACTIONS: [(0, each) for each in paid],
            Name.DECISIONS: [
                (0, decision(each, "review" if fired else "approve", rules=fired))
                for each, fired in zip(paid, rules, strict=True)
            ],
            Name.LABELS: [
                (0, label(paid[0], True, START)),
                (0, label(paid[1], False, START)),
                (0, label(paid[3], True, START)),
            ],
        }
    )
    with Archive(archive_settings) as archive:
        found = rule_figures(archive, START - 10**9)
        assert rule_figures(archive, START + 10**12) == {}
    burst, travel = found["burst"], found["travel"]
    assert (burst.hits, burst.alone, burst.frauds, burst.false_alarms) == (3, 2, 1, 1)
    assert (burst.stopped, burst.held) == ({"EUR": 100}, {"USD": 200})
    assert (travel.hits, travel.alone, travel.stopped) == (2, 1, {"USD": 400})
