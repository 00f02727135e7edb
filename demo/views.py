"""The status and the totals of the demo as text and tables."""

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.outcome import Outcome
from demo.status import AlertCounts, ChallengeCounts, Status, StreamCounts
from vedette.clock import format_time
from vedette.money import format_amount

_ACTIONS = {"approve": "green", "challenge": "yellow", "review": "dark_orange", "decline": "red"}
_ANSWERS = {"issued": "yellow", "approved": "green", "expired": "dark_orange"}


def line(status: Status) -> str:
    """Return the status as one line."""
    stream, challenges, alerts = status.stream, status.challenges, status.alerts
    p50, _, p99 = (_milliseconds(value) for value in stream.latency_ms)
    return (
        f"{status.phase}: {stream.published:,} published, {stream.decisions:,} decided "
        f"({stream.rate:,.0f}/s, p50 {p50}, p99 {p99}), "
        f"{challenges.settled:,} of {challenges.issued:,} challenges settled, "
        f"{alerts.alerts:,} alerts in {alerts.incidents.incidents:,} incidents, {stream.dead_letters} dead letters, "
        f"{alerts.emails:,} e-mails, {alerts.sms:,} SMS"
    )


def view(status: Status) -> RenderableType:
    """Return the status as tables."""
    minutes, seconds = divmod(status.seconds, 60)
    event_time = status.stream.event_time
    title = Text.assemble(
        ("vedette demo ", "bold"), f"{minutes}:{seconds:02}  ", (status.phase, "cyan"),
        f"  event time {_utc(event_time)}" if event_time else "",
    )  # fmt: skip
    lists = Table.grid(padding=(0, 2), expand=True)
    lists.add_row(_incidents(status.alerts), _challenges(status.challenges))
    return Group(
        title,
        Columns([_stream(status), _actions(status.stream), _notified(status), _stages(status)]),
        _alerts(status.alerts),
        lists,
        _messages(status.alerts),
    )


def totals(outcome: Outcome) -> RenderableType:
    """Return the totals as a table."""
    challenges = outcome.challenges
    answers = f"{challenges.approved:,} approved, {challenges.declined:,} declined, {challenges.held:,} to be reviewed"
    rows = [
        ("transactions published", f"{outcome.published:,}"),
        ("decisions", f"{outcome.decisions:,} on {outcome.unique_decisions:,} transactions"),
        ("challenges", f"{challenges.asked:,}: {answers}"),
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


def _stream(status: Status) -> Table:
    stream = status.stream
    p50, p95, p99 = (_milliseconds(value) for value in stream.latency_ms)
    return _pairs(
        "stream",
        ("published", f"{stream.published:,}"),
        ("decided", f"{stream.decisions:,}"),
        ("rate", f"{stream.rate:,.0f}/s"),
        ("lag", f"{status.worker.lag:,}"),
        ("p50", p50),
        ("p95", p95),
        ("p99", p99),
    )


def _actions(stream: StreamCounts) -> Table:
    rows = ((f"[{colour}]{name}[/]", f"{stream.actions.get(name, 0):,}") for name, colour in _ACTIONS.items())
    return _pairs("decisions", *rows)


def _notified(status: Status) -> Table:
    alerts, stream = status.alerts, status.stream
    return _pairs(
        "notifications",
        ("challenges", f"{status.challenges.issued:,}"),
        ("settled", f"{status.challenges.settled:,}"),
        ("alerts", f"{alerts.alerts:,}"),
        ("incidents", f"{alerts.incidents.incidents:,}"),
        ("e-mails", f"{alerts.emails:,}"),
        ("SMS", f"{alerts.sms:,}"),
        ("poison sent", f"{stream.poison}"),
        ("dead letters", f"{stream.dead_letters}"),
    )


def _stages(status: Status) -> Table:
    stages = sorted(status.worker.stages_us.items())
    return _pairs("worker, µs per transaction", *((name, f"{value:.1f}") for name, value in stages))


def _alerts(status: AlertCounts) -> Table:
    table = Table("account", "amount", "score", "action", "reasons", title="last alerts", box=box.SIMPLE, expand=True)
    for alert in status.latest:
        table.add_row(
            Text(alert.account_id),
            _amount(alert.amount, alert.currency),
            f"{alert.score:.3f}",
            Text(alert.action, _ACTIONS[alert.action]),
            Text("; ".join(reason.text for reason in alert.reasons), overflow="ellipsis", no_wrap=True),
        )
    return table


def _incidents(status: AlertCounts) -> Table:
    columns = ("incident", "account", "expected loss", "alerts", "opened, UTC")
    table = Table(*columns, title="costliest incidents", box=box.SIMPLE, expand=True)
    for incident in status.incidents.costliest:
        loss = _amount(incident.expected_loss, status.incidents.currency)
        opened = _utc(incident.opened_at).removesuffix(" UTC").rpartition(" ")[2]
        table.add_row(f"#{incident.id}", Text(incident.account_id), loss, str(incident.alerts), opened)
    return table


def _challenges(status: ChallengeCounts) -> Table:
    table = Table("account", "amount", "answer", title="last challenges", box=box.SIMPLE, expand=True)
    for challenge in status.latest:
        answer = Text(challenge.status, _ANSWERS.get(challenge.status, "red"))
        table.add_row(Text(challenge.account_id), _amount(challenge.amount, challenge.currency), answer)
    return table


def _messages(status: AlertCounts) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("e-mail", "bold"), Text(status.last_email, overflow="ellipsis", no_wrap=True))
    table.add_row(Text("SMS", "bold"), Text(status.last_sms, overflow="ellipsis", no_wrap=True))
    return table


def _pairs(title: str, *rows: tuple[str, str]) -> Table:
    table = Table(title=title, box=box.SIMPLE, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _amount(minor: int, currency: str) -> Text:
    return Text(format_amount(minor, currency), justify="right")


def _utc(milliseconds: int) -> str:
    return format_time(milliseconds)[:19].replace("T", " ") + " UTC"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"
