"""What a demo found, and whether the sums are right."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from bench.demo.desk import Worked
from bench.demo.feed import Sent
from bench.demo.watch import Seen


@dataclass(frozen=True)
class Received:
    """What names each message that the mail server and the SMS endpoint have: the same for two copies of one."""

    emails: Sequence[str] = ()
    sms: Sequence[str] = ()


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from the hand-over of a transaction to its decision read; null without decisions."""

    p50: float | None
    p99: float | None


class Asked(msgspec.Struct, frozen=True):
    """Transactions whose customer was asked, and what the final decisions about them say."""

    asked: int
    approved: int
    held: int
    declined: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The sums of a demo.

    Attributes:
        published: Valid transactions, each counted once.
        decisions: Messages on `decisions`.
        unique_decisions: Transactions that have at least one.
        challenges: What became of the customers' answers.
        alerts: Messages on `alerts`.
        dlq: Messages on the dead-letter topic.
        incidents: What the alerts have been joined to: one an account.
        told: Alerts of which people have been told.
        emails: Mails that the mail server has received.
        sms: Messages that the SMS endpoint has received.
        rate_per_s: Decisions a second, from the first hand-over to the last decision read.
        latency_ms: Over all decisions.
        frauds: Published transactions known to be fraud; this and what follows only where the truth is known.
        flagged: Published transactions of known truth that were not approved.
        recall: Share of the frauds that was flagged.
        precision: Share of the flagged that was fraud.
    """

    published: int
    decisions: int
    unique_decisions: int
    challenges: Asked
    alerts: int
    dlq: int
    incidents: int
    told: int
    emails: int
    sms: int
    rate_per_s: float
    latency_ms: Latency
    frauds: int | None = None
    flagged: int | None = None
    recall: float | None = None
    precision: float | None = None


def percentiles_ms(seconds: Sequence[float], *wanted: float) -> list[float | None]:
    """Percentiles in milliseconds; None without values."""
    if not seconds:
        return [None for _ in wanted]
    return [round(1000 * value, 1) for value in np.percentile(np.array(seconds), wanted).tolist()]


def conclude(sent: Sent, seen: Seen, worked: Worked, received: Received) -> Outcome:
    """Add up what has been published, read, worked on and received."""
    published = sent.left_at.keys()
    seconds = seen.last_at - min(sent.left_at.values(), default=0.0)
    known = published & sent.truth.keys()
    frauds = {id_ for id_ in known if sent.truth[id_]}
    flagged = known & seen.flagged
    finals = Counter(seen.finals.values())
    p50, p99 = percentiles_ms(seen.latencies, 50, 99)
    return Outcome(
        published=len(published),
        decisions=seen.decisions,
        unique_decisions=len(seen.decided),
        challenges=Asked(len(seen.challenged), finals["approve"], finals["review"], finals["decline"]),
        alerts=seen.alerts,
        dlq=len(seen.dead),
        incidents=worked.incidents,
        told=worked.alerts - worked.untold,
        emails=len(received.emails),
        sms=len(received.sms),
        rate_per_s=round(seen.decisions / seconds, 1) if seen.decisions else 0.0,
        latency_ms=Latency(p50, p99),
        frauds=len(frauds) if known else None,
        flagged=len(flagged) if known else None,
        recall=round(len(frauds & flagged) / len(frauds), 4) if frauds else None,
        precision=round(len(frauds & flagged) / len(flagged), 4) if flagged else None,
    )


def wrong_sums(outcome: Outcome, sent: Sent, seen: Seen, worked: Worked, received: Received) -> str:
    """What is wrong, in one sentence without its full stop; empty if nothing is."""
    return "; ".join((*_wrong(outcome, sent, seen), *_untold(outcome, worked, received)))


def _untold(outcome: Outcome, worked: Worked, received: Received) -> Iterator[str]:
    if worked.alerts != outcome.alerts:
        yield f"{outcome.alerts:,} alerts were published, but {worked.alerts:,} are in incidents"
    if worked.untold:
        yield f"nobody was told of {worked.untold:,} alerts"
    for channel, name, taken in (("email", "e-mails", received.emails), ("sms", "SMS", received.sms)):
        recorded = worked.messages.get(channel, 0)
        if len(taken) != recorded:
            yield f"{recorded:,} {name} were to be sent, but {len(taken):,} arrived"
        if again := len(taken) - len(set(taken)):
            yield f"{again:,} {name} arrived more than once"


def _wrong(outcome: Outcome, sent: Sent, seen: Seen) -> Iterator[str]:
    if missing := sent.left_at.keys() - seen.decided:
        yield f"{len(missing):,} of {outcome.published:,} transactions have no decision"
    if strange := seen.decided - sent.left_at.keys():
        yield f"{len(strange):,} decisions are about transactions that were never published"
    if again := outcome.decisions - outcome.unique_decisions:
        yield f"{again:,} decisions were published more than once"
    if outcome.alerts != seen.alerts_due:
        yield f"{seen.alerts_due:,} alerts are due, but there are {outcome.alerts:,}"
    if open_ := len(seen.challenged - seen.finals.keys()):
        yield f"{open_:,} challenges have no final decision"
    planted, dead = Counter(sent.planted), Counter(seen.dead)
    if lost := planted - dead:
        yield f"{lost.total()} of {len(sent.planted)} poison messages are not on the dead-letter topic"
    if others := dead - planted:
        yield f"{others.total()} messages on the dead-letter topic were not planted there"
