from array import array
from dataclasses import replace

import pytest

from bench.demo.desk import Worked
from bench.demo.feed import Sent
from bench.demo.outcome import Asked, Received, conclude, wrong_sums
from bench.demo.watch import Seen


def sent() -> Sent:
    """Four transactions, two of them frauds, one of unknown truth, and a fifth that was not published any more."""
    return Sent(
        left_at={"a": 10.0, "b": 10.1, "c": 10.2, "d": 10.3},
        truth={"a": True, "b": True, "c": False, "never": True},
        planted=[b"x", b"", b""],
    )


def seen() -> Seen:
    """All of them decided within two seconds, one fraud and the unknown one flagged; their customers were asked."""
    return Seen(
        decisions=4,
        decided={"a", "b", "c", "d"},
        flagged={"a", "d"},
        challenged={"a", "d"},
        finals={"a": "decline", "d": "approve"},
        alerts=3,
        dead=[b"", b"x", b""],
        latencies=array("d", [0.1, 0.2, 0.3, 0.4]),
        last_at=12.0,
    )


WORKED = Worked(incidents=2, alerts=3, messages={"email": 2, "sms": 2})
RECEIVED = Received(["<1>", "<2>"], ["Ref A", "Ref B"])


def test_right_sums_are_silent() -> None:
    """Where everything has arrived once, nothing is wrong, and rate, latency, recall and precision follow from it."""
    outcome = conclude(sent(), seen(), WORKED, RECEIVED)
    assert wrong_sums(outcome, sent(), seen(), WORKED, RECEIVED) == ""
    assert (outcome.incidents, outcome.told, outcome.emails, outcome.sms) == (2, 3, 2, 2)
    assert (outcome.published, outcome.rate_per_s, outcome.latency_ms.p50) == (4, 2.0, 250.0)
    assert outcome.challenges == Asked(asked=2, approved=1, held=0, declined=1)
    assert (outcome.frauds, outcome.flagged, outcome.recall, outcome.precision) == (2, 1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decided": {"a", "b", "c"}, "decisions": 3}, "1 of 4 transactions have no decision"),
        ({"decided": {*"abcde"}, "decisions": 5}, "1 decisions are about transactions that were never published"),
        ({"decisions": 6}, "2 decisions were published more than once"),
        ({"flagged": {"a"}}, "2 alerts are due, but there are 3"),
        ({"finals": {"a": "decline", "d": "decline"}}, "4 alerts are due, but there are 3"),
        ({"finals": {"a": "decline"}}, "1 challenges have no final decision"),
        ({"dead": [b"", b"x"]}, "1 of 3 poison messages are not on the dead-letter topic"),
        ({"dead": [b"", b"x", b"", b"y"]}, "1 messages on the dead-letter topic were not planted there"),
    ],
)
def test_every_wrong_sum_is_named(change: dict[str, object], sentence: str) -> None:
    """Whatever is missing, doubled or strange is said, and nothing else."""
    found = Seen(**{**vars(seen()), **change})
    outcome = conclude(sent(), found, WORKED, RECEIVED)
    assert wrong_sums(outcome, sent(), found, WORKED, RECEIVED) == sentence


@pytest.mark.parametrize(
    ("worked", "received", "sentence"),
    [
        ({"alerts": 1}, {}, "3 alerts were published, but 1 are in incidents"),
        ({"untold": 1}, {}, "nobody was told of 1 alerts"),
        ({}, {"emails": ["<1>"]}, "2 e-mails were to be sent, but 1 arrived"),
        (
            {},
            {"sms": ["Ref A", "Ref B", "Ref B"]},
            "2 SMS were to be sent, but 3 arrived; 1 SMS arrived more than once",
        ),
        ({}, {"emails": ["<1>", "<1>"]}, "1 e-mails arrived more than once"),
    ],
)
def test_lost_and_doubled_messages_are_named(
    worked: dict[str, int], received: dict[str, list[str]], sentence: str
) -> None:
    """Each alert must be in an incident and told, and each message must have arrived exactly once."""
    desk, sinks = replace(WORKED, **worked), replace(RECEIVED, **received)  # type: ignore[arg-type]
    outcome = conclude(sent(), seen(), desk, sinks)
    assert wrong_sums(outcome, sent(), seen(), desk, sinks) == sentence


def test_nothing_at_all_is_no_error() -> None:
    """A demo ended before its first transaction has no latency and no rate, and its sums are right."""
    outcome = conclude(Sent(), Seen(), Worked(), Received())
    assert wrong_sums(outcome, Sent(), Seen(), Worked(), Received()) == ""
    assert (outcome.rate_per_s, outcome.latency_ms.p50, outcome.recall) == (0.0, None, None)
