"""What there is to see at one moment of the demo."""

import time
from collections import deque
from dataclasses import dataclass

from bench.demo.desk import Worked, look
from bench.demo.feed import Sent
from bench.demo.options import Options
from bench.demo.outcome import percentiles_ms
from bench.demo.stage import Stage
from bench.demo.watch import Watch
from vedette import Alert, Challenge

_RATE_OVER_S = 5.0
_METRICS_EVERY_S = 1.0
_DESK_EVERY_S = 0.5


@dataclass(frozen=True)
class Snapshot:
    """The numbers of a moment."""

    seconds: float
    """Since the stream began."""
    phase: str
    published: int
    planted: int
    event_time: int
    """Of the transactions published last, milliseconds since epoch."""
    decisions: int
    rate: float
    """Decisions a second, over the last seconds."""
    latency_ms: tuple[float | None, ...]
    """p50, p95 and p99 of the last few thousand decisions."""
    actions: dict[str, int]
    lag: int
    """Transactions that the worker has still to read, as it says itself."""
    stages_us: dict[str, float]
    """Microseconds a transaction takes the worker, by stage."""
    challenges: int
    """Customers asked."""
    settled_challenges: int
    """And the final decisions that followed."""
    last_challenges: list[Challenge]
    alerts: int
    last_alerts: list[Alert]
    dlq: int
    worked: Worked
    """Incidents and messages, as the fraud team has them."""
    emails: int
    sms: int
    last_email: str
    last_sms: str
    settled: bool
    """Whether everything published is decided, dead-lettered and told."""
    complete: bool
    """Whether nothing more will be published, either."""

    @property
    def progress(self) -> tuple[int, ...]:
        """Changes while anything gets on."""
        return (self.published, self.decisions, self.settled_challenges, self.alerts, self.dlq, self.emails, self.sms)


class Camera:
    """Takes snapshots of a running demo."""

    def __init__(self, stage: Stage, sent: Sent, watch: Watch, options: Options) -> None:
        self._stage = stage
        self._sent = sent
        self._watch = watch
        self._leave = options.leave
        self._began = time.monotonic()
        self._counts: deque[tuple[float, int]] = deque()
        self._metrics: dict[tuple[str, str], float] = {}
        self._metrics_at = 0.0
        self._worked = Worked()
        self._worked_at = 0.0

    def take(self, *, published: bool) -> Snapshot:
        """The present moment.

        Args:
            published: Whether all that will ever be published has been.
        """
        now, sent, seen, stage = time.monotonic(), self._sent, self._watch.seen, self._stage
        if now - self._metrics_at > _METRICS_EVERY_S:
            self._metrics, self._metrics_at = stage.metrics(), now
        if now - self._worked_at > _DESK_EVERY_S:
            self._worked, self._worked_at = look(stage.alerts), now
        worked = self._worked
        mails, messages = stage.mail.mails, stage.team_sms
        alerts, decisions = seen.alerts, seen.decisions
        settled = (
            len(seen.decided) >= len(sent.left_at)
            and len(seen.dead) >= len(sent.planted)
            and len(seen.finals) >= len(seen.challenged)
            and alerts >= seen.alerts_due
            and worked.alerts >= alerts
            and not worked.untold
            and not worked.unfinished
            and len(mails) + len(messages) >= sum(worked.messages.values())
        )
        complete = settled and published
        return Snapshot(
            seconds=now - self._began,
            phase=self._phase(published=published, complete=complete),
            published=len(sent.left_at),
            planted=len(sent.planted),
            event_time=sent.event_time,
            decisions=decisions,
            rate=self._rate(now, decisions),
            latency_ms=tuple(percentiles_ms(self._watch.recent_latencies(), 50, 95, 99)),
            actions=dict(self._watch.actions),
            lag=round(self._metrics.get(("vedette_lag", "transactions"), 0)),
            stages_us=self._stages(),
            challenges=len(seen.challenged),
            settled_challenges=len(seen.finals),
            last_challenges=self._watch.last_challenges,
            alerts=alerts,
            last_alerts=self._watch.last_alerts,
            dlq=len(seen.dead),
            worked=worked,
            emails=len(mails),
            sms=len(messages),
            last_email=mails[-1].subject if mails else "",
            last_sms=messages[-1].body if messages else "",
            settled=settled,
            complete=complete,
        )

    def _phase(self, *, published: bool, complete: bool) -> str:
        if not published:
            return "streaming" if self._leave else "streaming; Ctrl-C ends it"
        if not complete:
            return "waiting for the last decisions and messages"
        return "done" if self._leave else "done; Ctrl-C ends it"

    def _rate(self, now: float, decisions: int) -> float:
        self._counts.append((now, decisions))
        while now - self._counts[0][0] > _RATE_OVER_S:
            self._counts.popleft()
        then, before = self._counts[0]
        return (decisions - before) / (now - then) if now > then else 0.0

    def _stages(self) -> dict[str, float]:
        taken_in = self._metrics.get(("vedette_messages_total", "transactions"), 0)
        if not taken_in:
            return {}
        name = "vedette_stage_seconds_total"
        return {label: 1e6 * value / taken_in for (metric, label), value in self._metrics.items() if metric == name}
