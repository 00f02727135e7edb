"""The totals of a demo, and whether they are consistent."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from demo.incidents import IncidentCounts
from demo.producer import PublishedStream
from demo.topic_watch import Seen


@dataclass(frozen=True)
class Delivered:
    """Identifiers of the messages at the mail server and the SMS endpoint: equal for two copies of a message."""

    emails: Sequence[str] = ()
    sms: Sequence[str] = ()


class DecisionLatency(msgspec.Struct, frozen=True):
    """Milliseconds from the hand-over of a transaction to its decision read; null without decisions."""

    p50: float | None
    p99: float | None


class ChallengeTotals(msgspec.Struct, frozen=True):
    """Transactions with a challenge to the customer, and the final decisions on them."""

    asked: int
    approved: int
    held: int
    declined: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The totals of a demo.

    Attributes:
        published: Valid transactions, each counted once.
        decisions: Messages on `decisions`.
        unique_decisions: Transactions that have at least one.
        challenges: Challenges and their outcomes.
        alerts: Messages on `alerts`.
        dlq: Messages on the dead-letter topic.
        incidents: Incidents that the alerts have joined, one per account.
        notified: Alerts that people have been notified of.
        emails: Mails that the mail server has received.
        sms: Messages that the SMS endpoint has received for the fraud team.
        rate_per_s: Decisions per second, from the first hand-over to the last decision read.
        latency_ms: Latency over all decisions.
        frauds: Published transactions known to be fraud; this and the rest only where labels are known.
        flagged: Published transactions with a known label that were not approved.
        recall: Fraction of the frauds that was flagged.
        precision: Fraction of the flagged that was fraud.
    """

    published: int
    decisions: int
    unique_decisions: int
    challenges: ChallengeTotals
    alerts: int
    dlq: int
    incidents: int
    notified: int
    emails: int
    sms: int
    rate_per_s: float
    latency_ms: DecisionLatency
    frauds: int | None = None
    flagged: int | None = None
    recall: float | None = None
    precision: float | None = None


def percentiles_ms(seconds: Sequence[float], *wanted: float) -> list[float | None]:
    """Return percentiles in milliseconds; None without values."""
    if not seconds:
        return [None for _ in wanted]
    return [round(1000 * value, 1) for value in np.percentile(np.array(seconds), wanted).tolist()]


def conclude(sent: PublishedStream, seen: Seen, incidents: IncidentCounts, delivered: Delivered) -> Outcome:
    """Add up what has been published, read, recorded and delivered."""
    published = sent.sent_at.keys()
    seconds = seen.last_at - min(sent.sent_at.values(), default=0.0)
    known = published & sent.truth.keys()
    frauds = {id_ for id_ in known if sent.truth[id_]}
    flagged = known & seen.flagged
    finals = Counter(seen.finals.values())
    p50, p99 = percentiles_ms(seen.latencies, 50, 99)
    return Outcome(
        published=len(published),
        decisions=seen.decisions,
        unique_decisions=len(seen.decided),
        challenges=ChallengeTotals(len(seen.challenged), finals["approve"], finals["review"], finals["decline"]),
        alerts=seen.alerts,
        dlq=len(seen.dead_letters),
        incidents=incidents.incidents,
        notified=incidents.alerts - incidents.not_notified,
        emails=len(delivered.emails),
        sms=len(delivered.sms),
        rate_per_s=round(seen.decisions / seconds, 1) if seen.decisions else 0.0,
        latency_ms=DecisionLatency(p50, p99),
        frauds=len(frauds) if known else None,
        flagged=len(flagged) if known else None,
        recall=round(len(frauds & flagged) / len(frauds), 4) if frauds else None,
        precision=round(len(frauds & flagged) / len(flagged), 4) if flagged else None,
    )


def inconsistencies(
    outcome: Outcome, sent: PublishedStream, seen: Seen, incidents: IncidentCounts, delivered: Delivered
) -> str:
    """Return what is wrong with the totals, in one sentence without a full stop; empty if nothing is."""
    return "; ".join((*_of_topics(outcome, sent, seen), *_of_messages(outcome, incidents, delivered)))


def _of_topics(outcome: Outcome, sent: PublishedStream, seen: Seen) -> Iterator[str]:
    if missing := sent.sent_at.keys() - seen.decided:
        yield f"{len(missing):,} of {outcome.published:,} transactions have no decision"
    if unknown := seen.decided - sent.sent_at.keys():
        yield f"{len(unknown):,} decisions are on transactions that were never published"
    if repeated := outcome.decisions - outcome.unique_decisions:
        yield f"{repeated:,} decisions were published more than once"
    if outcome.alerts != seen.alerts_due:
        yield f"{seen.alerts_due:,} alerts are due, but there are {outcome.alerts:,}"
    if open_ := len(seen.challenged - seen.finals.keys()):
        yield f"{open_:,} challenges have no final decision"
    poison, dead_letters = Counter(sent.poison), Counter(seen.dead_letters)
    if lost := poison - dead_letters:
        yield f"{lost.total()} of {len(sent.poison)} poison messages are not on the dead-letter topic"
    if others := dead_letters - poison:
        yield f"{others.total()} messages on the dead-letter topic are not poison"


def _of_messages(outcome: Outcome, incidents: IncidentCounts, delivered: Delivered) -> Iterator[str]:
    if incidents.alerts != outcome.alerts:
        yield f"{outcome.alerts:,} alerts were published, but {incidents.alerts:,} are in incidents"
    if incidents.not_notified:
        yield f"nobody was notified of {incidents.not_notified:,} alerts"
    for channel, name, arrived in (("email", "e-mails", delivered.emails), ("sms", "SMS", delivered.sms)):
        recorded = incidents.messages.get(channel, 0)
        if len(arrived) != recorded:
            yield f"{recorded:,} {name} were recorded, but {len(arrived):,} arrived"
        if repeated := len(arrived) - len(set(arrived)):
            yield f"{repeated:,} {name} arrived more than once"
