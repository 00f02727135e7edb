"""`vedette models trial`: a version on trial next to the champion."""

from functools import partial
from typing import TYPE_CHECKING

import typer

from cli.change import APPROVER, PUBLISH, REASON, VERSION, change
from cli.context import settings_of
from cli.feature_log import DAYS, JSON, read_feature_log

if TYPE_CHECKING:
    from streams.history.estimates import Estimate
    from streams.history.trial_report import TrialReport


def register(models: typer.Typer) -> None:
    """Add this room's commands to `vedette models`."""
    trial = typer.Typer(no_args_is_help=True, help="Try a version on live payments, in parallel with the champion.")
    for command in (start, end, report):
        trial.command()(command)
    models.add_typer(trial, name="trial")


def start(
    ctx: typer.Context,
    version: str = VERSION,
    fraction: float = typer.Option(
        0.0, "--fraction", min=0, max=1, help="fraction of the accounts it decides for; 0: shadow only"
    ),
    max_alert_ratio: float = typer.Option(
        2.0, "--max-alert-ratio", min=1.01, help="withdraw it when it flags more than this many times the champion's"
    ),
    min_payments: int = typer.Option(
        2_000, "--min-payments", min=100, help="payments scored by both before their alert rates are compared"
    ),
    reason: str = REASON,
    approver: str = APPROVER,
    publish: bool = PUBLISH,
) -> None:
    """Let a version score in shadow mode, or decide for a fraction of the accounts."""
    from models.registry.promotion import start_trial
    from vedette.control import RolloutGuardrail

    guardrail = RolloutGuardrail(max_alert_ratio=max_alert_ratio, min_payments=min_payments)
    act = partial(start_trial, rollout_fraction=fraction, guardrail=guardrail, approver=approver, reason=reason)
    change(ctx, act, publish, version)


def end(ctx: typer.Context, reason: str = REASON, approver: str = APPROVER, publish: bool = PUBLISH) -> None:
    """End the trial: the champion decides for all accounts."""
    from models.registry.promotion import end_trial

    change(ctx, partial(end_trial, approver=approver, reason=reason), publish)


def report(
    ctx: typer.Context,
    days: float = DAYS,
    delay: int = typer.Option(7, "--delay", metavar="DAYS", min=0, help="days that a label takes to arrive"),
    as_json: bool = JSON,
) -> None:
    """Compare champion and challenger on the payments of the latest trial, with 95 % intervals."""
    import msgspec

    from streams.history.control_state import read_control
    from streams.history.trial_report import report as trial_report

    log, labels = read_feature_log(ctx, days)
    found = trial_report(log, labels, delay, control=read_control(settings_of(ctx)).models)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)


def _show(found: "TrialReport") -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time

    console = Console(markup=False)
    if found.withdrawn:
        console.print(
            f"The guardrail withdrew {found.versions[1]} at {format_time(found.withdrawn.at)[:19]} UTC: "
            f"{found.withdrawn.reason}.\n",
            highlight=False,
        )
    table = Table("", "champion", "challenger", "difference", box=None)
    arms = (found.champion, found.challenger)
    table.add_row("version", *found.versions, "")
    for name in ("accounts", "payments", "mature", "frauds"):
        counts = (f"{getattr(arm, name):,}" if arm else "0" for arm in arms)
        table.add_row("mature payments" if name == "mature" else name, *counts, "")
    table.add_row("alert rate", *(_rate(arm.alert_rate if arm else None) for arm in arms), _rate(found.alert_rate, "+"))
    table.add_row("recall", *(_rate(arm.recall if arm else None) for arm in arms), _rate(found.recall, "+"))
    table.add_row("", "", "", "")
    same = found.same_payments
    table.add_row("same payments", f"{same.payments:,}", f"{same.payments:,}", f"{same.agreement:.2%} agree")
    gap = same.challenger_alert_rate - same.champion_alert_rate
    table.add_row("alert rate", f"{same.champion_alert_rate:.3%}", f"{same.challenger_alert_rate:.3%}", f"{gap:+.3%}")
    table.add_row("average precision", "", "", _gain(same.average_precision))
    console.print(table)
    console.print(
        "\n95 % intervals: Wilson's over the effective number of payments, since an account's payments are not "
        "independent; Newcombe's for differences; for average precision, from drawing whole accounts. Recall counts "
        "payments whose label has had time to arrive.",
        highlight=False,
    )


def _rate(estimate: "Estimate | None", sign: str = "") -> str:
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.3%}"
    return f"{estimate.value:{sign}.3%} ({estimate.low:{sign}.3%} to {estimate.high:{sign}.3%})"


def _gain(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "no known fraud yet"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f} (too few defrauded accounts for an interval)"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
