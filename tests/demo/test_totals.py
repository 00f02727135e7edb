from array import array
from dataclasses import replace

import pytest

from demo.incidents import IncidentCounts
from demo.outcome import ChallengeTotals, Delivered, conclude, inconsistencies
from demo.producer import PublishedStream
from demo.topic_watch import Seen


def sent() -> PublishedStream:
    """Four transactions, two of them frauds, one of unknown truth, and a fifth that was never published."""
    return PublishedStream(
        sent_at={"a": 10.0, "b": 10.1, "c": 10.2, "d": 10.3},
        truth={"a": True, "b": True, "c": False, "never": True},
        poison=[b"x", b"", b""],
    )


def seen() -> Seen:
    """All of them decided within two seconds, one fraud and the unknown one flagged and challenged."""
    return Seen(
        decisions=4,
        decided={"a", "b", "c", "d"},
        flagged={"a", "d"},
        challenged={"a", "d"},
        finals={"a": "decline", "d": "approve"},
        alerts=3,
        dead_letters=[b"", b"x", b""],
        latencies=array("d", [0.1, 0.2, 0.3, 0.4]),
        last_at=12.0,
    )


INCIDENTS = IncidentCounts(incidents=2, alerts=3, messages={"email": 2, "sms": 2})
DELIVERED = Delivered(["<1>", "<2>"], ["Ref A", "Ref B"])


def test_consistent_totals_are_silent() -> None:
    """If everything arrived once, the totals are consistent and give rate, latency, recall and precision."""
    outcome = conclude(sent(), seen(), INCIDENTS, DELIVERED)
    assert inconsistencies(outcome, sent(), seen(), INCIDENTS, DELIVERED) == ""
    assert (outcome.incidents, outcome.notified, outcome.emails, outcome.sms) == (2, 3, 2, 2)
    assert (outcome.published, outcome.rate_per_s, outcome.latency_ms.p50) == (4, 2.0, 250.0)
    assert outcome.challenges == ChallengeTotals(asked=2, approved=1, held=0, declined=1)
    assert (outcome.frauds, outcome.flagged, outcome.recall, outcome.precision) == (2, 1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decided": {"a", "b", "c"}, "decisions": 3}, "1 of 4 transactions have no decision"),
        ({"decided": {*"abcde"}, "decisions": 5}, "1 decisions are on transactions that were never published"),
        ({"decisions": 6}, "2 decisions were published more than once"),
        ({"flagged": {"a"}}, "2 alerts are due, but there are 3"),
        ({"finals": {"a": "decline", "d": "decline"}}, "4 alerts are due, but there are 3"),
        ({"finals": {"a": "decline"}}, "1 challenges have no final decision"),
        ({"dead_letters": [b"", b"x"]}, "1 of 3 poison messages are not on the dead-letter topic"),
        ({"dead_letters": [b"", b"x", b"", b"y"]}, "1 messages on the dead-letter topic are not poison"),
    ],
)
def test_every_inconsistency_is_named(change: dict[str, object], sentence: str) -> None:
    """Whatever is missing, repeated or unknown is named, and nothing else."""
    found = Seen(**{**vars(seen()), **change})
    outcome = conclude(sent(), found, INCIDENTS, DELIVERED)
    assert inconsistencies(outcome, sent(), found, INCIDENTS, DELIVERED) == sentence


@pytest.mark.parametrize(
    ("incidents", "delivered", "sentence"),
    [
        ({"alerts": 1}, {}, "3 alerts were published, but 1 are in incidents"),
        ({"not_notified": 1}, {}, "nobody was notified of 1 alerts"),
        ({}, {"emails": ["<1>"]}, "2 e-mails were recorded, but 1 arrived"),
        (
            {},
            {"sms": ["Ref A", "Ref B", "Ref B"]},
            "2 SMS were recorded, but 3 arrived; 1 SMS arrived more than once",
        ),
        ({}, {"emails": ["<1>", "<1>"]}, "1 e-mails arrived more than once"),
    ],
)
def test_lost_and_doubled_messages_are_named(
    incidents: dict[str, int], delivered: dict[str, list[str]], sentence: str
) -> None:
    """Each alert must be in an incident that people know of, and each message must have arrived exactly once."""
    recorded, arrived = replace(INCIDENTS, **incidents), replace(DELIVERED, **delivered)  # type: ignore[arg-type]
    outcome = conclude(sent(), seen(), recorded, arrived)
    assert inconsistencies(outcome, sent(), seen(), recorded, arrived) == sentence


def test_nothing_at_all_is_no_error() -> None:
    """A demo that ends before its first transaction has no latency and no rate, and its totals are consistent."""
    outcome = conclude(PublishedStream(), Seen(), IncidentCounts(), Delivered())
    assert inconsistencies(outcome, PublishedStream(), Seen(), IncidentCounts(), Delivered()) == ""
    assert (outcome.rate_per_s, outcome.latency_ms.p50, outcome.recall) == (0.0, None, None)
