"""`vedette show`: one payment with its complete history."""

from typing import TYPE_CHECKING, Any

import typer

from cli.cells import cell
from cli.context import settings_of

if TYPE_CHECKING:
    from archive.search import PaymentHistory


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(show)


def show(
    ctx: typer.Context,
    transaction: str = typer.Argument(metavar="TRANSACTION", help="id of the payment"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Show a payment of the archive: what was decided and why, what came after, and all features with their meaning.

    The exit code is 1 if the archive does not have it.
    """
    import msgspec

    from adapters.extras import require_extra

    require_extra("archive", "the archive", "deltalake")
    from archive.search import Archive

    with Archive(settings_of(ctx).archive) as archive:
        found = archive.history(transaction)
    if as_json:
        payments = [{"payment": each.payment, **each.messages, "features": _features(each)} for each in found]
        typer.echo(msgspec.json.encode({"payments": payments}).decode())
    else:
        for each in found:
            _print(each)
    if not found:
        if not as_json:
            typer.echo(f"the archive has no payment {transaction}")
        raise typer.Exit(1)


_PARTIES = ("merchant_id", "payee", "mcc", "channel", "country", "device_id", "ip_address", "account_type")


def _print(history: "PaymentHistory") -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.money import format_amount

    payment = history.payment
    console = Console()
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_row("payment", cell(payment["transaction_id"]))
    facts.add_row("account", cell(payment["account_id"]))
    facts.add_row("amount", format_amount(payment["amount"], payment["currency"]))
    facts.add_row("event time (UTC)", _moment(payment["event_time"]))
    for name in ("kind", "original_id", *_PARTIES):
        if payment[name] is not None:
            facts.add_row(name, cell(str(payment[name])))
    console.print(facts)
    timeline = Table("published (UTC)", "what", "outcome", "details")
    rows = [(row["produced_at"], name, row) for name, found in history.messages.items() for row in found]
    for moment, name, row in sorted(rows, key=lambda row: row[0]):
        timeline.add_row(_moment(moment), *(cell(text) for text in _WORDS[name](row)))
    if rows:
        console.print(timeline)
    else:
        console.print("no decision is archived yet")
    features = Table("feature", "value", "unit", "meaning")
    for feature in _features(history):
        value = "missing" if feature["value"] is None else f"{feature['value']:,.6g}"
        features.add_row(cell(feature["name"]), value, feature["unit"], feature["meaning"])
    if features.row_count:
        console.print(features)


def _features(history: "PaymentHistory") -> list[dict[str, Any]]:
    """Return each feature with its meaning, which is known where the catalogue still is the one of the payment."""
    from math import isnan

    from features.catalogue import CATALOGUE
    from features.signals import with_live_by_name
    from vedette.events import EXTRA

    catalogue = {feature.name: feature for feature in CATALOGUE}
    described = []
    features = with_live_by_name(history.features, history.signals, history.payment["currency"])
    for name, value in features.items():
        known = catalogue.get(name)
        other = "extra column of the transaction" if name.startswith(EXTRA) else "not in this version's catalogue"
        described.append(
            {
                "name": name,
                "value": None if isnan(value) else value,
                "unit": known.unit if known else "",
                "meaning": known.meaning if known else other,
            }
        )
    return described


def _decision(row: dict[str, Any]) -> tuple[str, str, str]:
    kind = "final decision" if row["final"] else "decision without history" if row["degraded"] else "decision"
    why = "; ".join([*row["rules"], *row["reasons"]])
    if not row["model"]:
        return kind, row["action"], f"without a score, by {row['policy']}"
    return kind, f"{row['action']} (score {row['score']:.3f})", why or f"by {row['model']}, {row['policy']}"


def _alert(row: dict[str, Any]) -> tuple[str, str, str]:
    from vedette.money import format_amount

    return "alert", row["action"], f"expected loss {format_amount(row['expected_loss'], row['currency'])}"


def _challenge(row: dict[str, Any]) -> tuple[str, str, str]:
    return "challenge", row["status"], f"{row['factor']}, {row['challenge_id']}"


def _label(row: dict[str, Any]) -> tuple[str, str, str]:
    return "label", "fraud" if row["fraud"] else "honest", f"says {row['source']}"


_WORDS = {"decisions": _decision, "alerts": _alert, "challenges": _challenge, "labels": _label}


def _moment(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
