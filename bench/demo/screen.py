"""What people see of the demo: a live view on a terminal, else a plain line every few seconds."""

import time
from contextlib import suppress
from typing import Protocol

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.demo.outcome import Outcome
from bench.demo.snapshot import Snapshot
from vedette.clock import format_time
from vedette.money import format_amount

_EVERY_S = 3.0
_COLOURS = {"approve": "green", "challenge": "yellow", "review": "dark_orange", "decline": "red"}
_STATUS = {"issued": "yellow", "approved": "green", "expired": "dark_orange"}


class Screen(Protocol):
    """Shows a demo."""

    def say(self, text: str) -> None:
        """Tell what happens next."""
        ...

    def warming(self, transactions: int) -> None:
        """Tell how much history has been taken in."""
        ...

    def show(self, snapshot: Snapshot) -> None:
        """Show a moment of the stream."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class PlainScreen:
    """Lines of text, as for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()
        self._phase = ""

    def say(self, text: str) -> None:
        """See Screen."""
        self._print(f"demo: {text}")

    def warming(self, transactions: int) -> None:
        """See Screen."""
        if time.monotonic() - self._last > _EVERY_S:
            self._print(f"demo: {transactions:,} earlier transactions taken in")

    def show(self, snapshot: Snapshot) -> None:
        """See Screen."""
        if snapshot.phase == self._phase and time.monotonic() - self._last < _EVERY_S:
            return
        self._phase = snapshot.phase
        p50, _, p99 = (_milliseconds(value) for value in snapshot.latency_ms)
        self._print(
            f"demo: {snapshot.phase}: {snapshot.published:,} published, {snapshot.decisions:,} decided "
            f"({snapshot.rate:,.0f}/s, p50 {p50}, p99 {p99}), "
            f"{snapshot.settled_challenges:,} of {snapshot.challenges:,} challenges settled, "
            f"{snapshot.alerts:,} alerts in {snapshot.worked.incidents:,} incidents, {snapshot.dlq} dead letters, "
            f"{snapshot.emails:,} e-mails, {snapshot.sms:,} SMS"
        )

    def close(self) -> None:
        """See Screen."""

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveScreen:
    """A view that keeps its place on the terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)
        self._live.start()

    def say(self, text: str) -> None:
        """See Screen."""
        # A link stays whole where it is longer than the line.
        self._live.console.print(f"[bold]vedette demo[/]: {text}", highlight=False, soft_wrap=True)

    def warming(self, transactions: int) -> None:
        """See Screen."""
        self._live.update(Text(f"  {transactions:,} earlier transactions taken in", style="dim"))

    def show(self, snapshot: Snapshot) -> None:
        """See Screen."""
        self._live.update(view(snapshot))

    def close(self) -> None:
        """See Screen."""
        with suppress(BrokenPipeError):
            self._live.stop()


def view(snapshot: Snapshot) -> RenderableType:
    """A moment as tables."""
    minutes, seconds = divmod(int(snapshot.seconds), 60)
    title = Text.assemble(
        ("vedette demo ", "bold"), f"{minutes}:{seconds:02}  ", (snapshot.phase, "cyan"),
        f"  event time {format_time(snapshot.event_time)}" if snapshot.event_time else "",
    )  # fmt: skip
    p50, p95, p99 = (_milliseconds(value) for value in snapshot.latency_ms)
    stream = _pairs(
        "stream",
        ("published", f"{snapshot.published:,}"),
        ("decided", f"{snapshot.decisions:,}"),
        ("rate", f"{snapshot.rate:,.0f}/s"),
        ("lag", f"{snapshot.lag:,}"),
        ("p50", p50),
        ("p95", p95),
        ("p99", p99),
    )
    taken = snapshot.actions
    actions = _pairs(
        "decisions", *((f"[{colour}]{name}[/]", f"{taken.get(name, 0):,}") for name, colour in _COLOURS.items())
    )
    told = _pairs(
        "told",
        ("challenges", f"{snapshot.challenges:,}"),
        ("settled", f"{snapshot.settled_challenges:,}"),
        ("alerts", f"{snapshot.alerts:,}"),
        ("incidents", f"{snapshot.worked.incidents:,}"),
        ("e-mails", f"{snapshot.emails:,}"),
        ("SMS", f"{snapshot.sms:,}"),
        ("poison sent", f"{snapshot.planted}"),
        ("dead letters", f"{snapshot.dlq}"),
    )
    stages = _pairs("worker, µs each", *((name, f"{value:.1f}") for name, value in sorted(snapshot.stages_us.items())))
    messages = Table.grid(padding=(0, 1))
    messages.add_row(Text("e-mail", "bold"), Text(snapshot.last_email, overflow="ellipsis", no_wrap=True))
    messages.add_row(Text("SMS", "bold"), Text(snapshot.last_sms, overflow="ellipsis", no_wrap=True))
    beside = Table.grid(padding=(0, 2), expand=True)
    beside.add_row(_incidents(snapshot), _challenges(snapshot))
    return Group(title, Columns([stream, actions, told, stages]), _alerts(snapshot), beside, messages)


def summary(outcome: Outcome) -> RenderableType:
    """The sums, for the end."""
    asked = outcome.challenges
    rows = [
        ("transactions published", f"{outcome.published:,}"),
        ("decisions", f"{outcome.decisions:,} on {outcome.unique_decisions:,} transactions"),
        (
            "customers asked",
            f"{asked.asked:,}: {asked.approved:,} approved, {asked.declined:,} declined, {asked.held:,} to be reviewed",
        ),
        ("alerts, incidents", f"{outcome.alerts:,}, {outcome.incidents:,}"),
        ("e-mails, SMS", f"{outcome.emails:,}, {outcome.sms:,}"),
        ("dead letters", f"{outcome.dlq}"),
        ("rate", f"{outcome.rate_per_s:,.0f}/s"),
        ("latency p50, p99", f"{_milliseconds(outcome.latency_ms.p50)}, {_milliseconds(outcome.latency_ms.p99)}"),
    ]
    if outcome.frauds is not None:
        rows.append(("frauds, flagged", f"{outcome.frauds:,}, {outcome.flagged:,}"))
    if outcome.recall is not None and outcome.precision is not None:
        rows.append(("recall, precision", f"{outcome.recall:.1%}, {outcome.precision:.1%}"))
    return _pairs("vedette demo", *rows)


def _alerts(snapshot: Snapshot) -> Table:
    table = Table("account", "amount", "score", "action", "reasons", title="last alerts", box=box.SIMPLE, expand=True)
    for alert in snapshot.last_alerts:
        table.add_row(
            Text(alert.account_id),
            Text(format_amount(alert.amount, alert.currency), justify="right"),
            f"{alert.score:.3f}",
            Text(alert.action, _COLOURS[alert.action]),
            Text("; ".join(alert.reasons), overflow="ellipsis", no_wrap=True),
        )
    return table


def _incidents(snapshot: Snapshot) -> Table:
    table = Table(
        "incident",
        "account",
        "expected loss",
        "alerts",
        "state",
        title="dearest incidents",
        box=box.SIMPLE,
        expand=True,
    )
    for incident in snapshot.worked.dearest:
        loss = Text(format_amount(incident.expected_loss, "EUR"), justify="right")
        table.add_row(f"#{incident.id}", Text(incident.account_id), loss, str(incident.alerts), incident.state)
    return table


def _challenges(snapshot: Snapshot) -> Table:
    table = Table("account", "amount", "answer", title="last challenges", box=box.SIMPLE, expand=True)
    for challenge in snapshot.last_challenges:
        amount = Text(format_amount(challenge.amount, challenge.currency), justify="right")
        table.add_row(Text(challenge.account_id), amount, Text(challenge.status, _STATUS.get(challenge.status, "red")))
    return table


def _pairs(title: str, *rows: tuple[str, str]) -> Table:
    table = Table(title=title, box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"
