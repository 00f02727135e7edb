"""The state of the demo at one moment, for the display."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from demo.environment import DemoEnvironment
from demo.incidents import IncidentCounts, read_incidents
from demo.outcome import percentiles_ms
from demo.producer import PublishedStream
from demo.topic_watch import TopicWatch
from vedette import Alert, Challenge

_RATE_OVER_S = 5.0
_METRICS_EVERY_S = 1.0
_INCIDENTS_EVERY_S = 0.5

Phase = Literal["streaming", "waiting for the last decisions and messages", "settled"]


@dataclass(frozen=True)
class StreamCounts:
    """Counts of published and decided transactions."""

    published: int
    poison: int
    event_time: int
    """Event time of the transactions published last, milliseconds since 1970 UTC."""
    decisions: int
    rate: float
    """Decisions per second over the last seconds."""
    latency_ms: tuple[float | None, ...]
    """p50, p95 and p99 of the last few thousand decisions."""
    actions: dict[str, int]
    dead_letters: int


@dataclass(frozen=True)
class WorkerMetrics:
    """Metrics of the worker."""

    lag: int = 0
    """Transactions that it has yet to read."""
    stages_us: dict[str, float] = field(default_factory=dict)
    """Microseconds per transaction, by stage."""


@dataclass(frozen=True)
class ChallengeCounts:
    """Step-up authentication."""

    issued: int
    settled: int
    """Number of final decisions that followed."""
    latest: list[Challenge]


@dataclass(frozen=True)
class AlertCounts:
    """Alerts, and the messages about them."""

    alerts: int
    latest: list[Alert]
    incidents: IncidentCounts
    emails: int
    sms: int
    last_email: str
    last_sms: str


@dataclass(frozen=True)
class Status:
    """One moment of the demo; two are equal if there is nothing new to show."""

    seconds: int
    """Seconds since the stream began; constant once everything is settled."""
    phase: Phase
    stream: StreamCounts
    worker: WorkerMetrics
    challenges: ChallengeCounts
    alerts: AlertCounts
    settled: bool
    """Whether everything published so far is decided or dead-lettered, and everybody has been notified."""

    @property
    def complete(self) -> bool:
        """Whether everything is settled and nothing more will be published."""
        return self.phase == "settled"

    @property
    def progress(self) -> tuple[int, ...]:
        """Counts of which at least one changes while the demo makes progress."""
        stream, alerts = self.stream, self.alerts
        settled = self.challenges.settled
        counts = (stream.published, stream.decisions, stream.dead_letters)
        return (*counts, settled, alerts.alerts, alerts.emails, alerts.sms)


class StatusCollector:
    """Gathers the status of a running demo.

    Args:
        environment: Servers and sinks.
        sent: Messages published.
        watch: Messages read from the topics.
    """

    def __init__(self, environment: DemoEnvironment, sent: PublishedStream, watch: TopicWatch) -> None:
        self._environment = environment
        self._sent = sent
        self._watch = watch
        self._began = time.monotonic()
        self._counts: deque[tuple[float, int]] = deque()
        self._worker = WorkerMetrics()
        self._worker_at = 0.0
        self._incidents = IncidentCounts()
        self._incidents_at = 0.0
        self._complete: Status | None = None

    def collect(self, *, published: bool) -> Status:
        """Return the current status; it is constant once everything is settled.

        Args:
            published: Whether the stream has ended.
        """
        if self._complete:
            return self._complete
        now = time.monotonic()
        stream, worker = self._stream(now), self._worker_status(now)
        challenges, alerts = self._challenges(), self._alerts(now)
        settled = self._settled(challenges, alerts)
        status = Status(int(now - self._began), _phase(published, settled), stream, worker, challenges, alerts, settled)
        if status.complete:
            self._complete = status
        return status

    def _stream(self, now: float) -> StreamCounts:
        sent, seen = self._sent, self._watch.seen
        return StreamCounts(
            published=len(sent.sent_at),
            poison=len(sent.poison),
            event_time=sent.event_time,
            decisions=seen.decisions,
            rate=self._rate(now, seen.decisions),
            latency_ms=tuple(percentiles_ms(self._watch.recent_latencies(), 50, 95, 99)),
            actions=dict(self._watch.actions),
            dead_letters=len(seen.dead_letters),
        )

    def _rate(self, now: float, decisions: int) -> float:
        self._counts.append((now, decisions))
        while now - self._counts[0][0] > _RATE_OVER_S:
            self._counts.popleft()
        then, before = self._counts[0]
        return (decisions - before) / (now - then) if now > then else 0.0

    def _worker_status(self, now: float) -> WorkerMetrics:
        if now - self._worker_at > _METRICS_EVERY_S:
            metrics = self._environment.worker_metrics()
            lag = round(metrics.get(("vedette_lag_messages", "transactions"), 0))
            self._worker, self._worker_at = WorkerMetrics(lag, _stages_us(metrics)), now
        return self._worker

    def _challenges(self) -> ChallengeCounts:
        seen = self._watch.seen
        return ChallengeCounts(len(seen.challenged), len(seen.finals), self._watch.latest_challenges)

    def _alerts(self, now: float) -> AlertCounts:
        if now - self._incidents_at > _INCIDENTS_EVERY_S:
            self._incidents, self._incidents_at = read_incidents(self._environment.database), now
        mails, messages = self._environment.mail.mails, self._environment.team_sms
        return AlertCounts(
            alerts=self._watch.seen.alerts,
            latest=self._watch.latest_alerts,
            incidents=self._incidents,
            emails=len(mails),
            sms=len(messages),
            last_email=mails[-1].subject if mails else "",
            last_sms=messages[-1].body if messages else "",
        )

    def _settled(self, challenges: ChallengeCounts, alerts: AlertCounts) -> bool:
        sent, seen, incidents = self._sent, self._watch.seen, alerts.incidents
        return (
            len(seen.decided) >= len(sent.sent_at)
            and len(seen.dead_letters) >= len(sent.poison)
            and challenges.settled >= challenges.issued
            and alerts.alerts >= seen.alerts_due
            and incidents.alerts >= alerts.alerts
            and not incidents.not_notified
            and not incidents.pending
            and alerts.emails + alerts.sms >= sum(incidents.messages.values())
        )


def _phase(published: bool, settled: bool) -> Phase:
    if not published:
        return "streaming"
    return "settled" if settled else "waiting for the last decisions and messages"


def _stages_us(metrics: dict[tuple[str, str], float]) -> dict[str, float]:
    messages = metrics.get(("vedette_messages_total", "transactions"), 0)
    if not messages:
        return {}
    name = "vedette_stage_seconds_total"
    return {stage: 1e6 * seconds / messages for (metric, stage), seconds in metrics.items() if metric == name}
