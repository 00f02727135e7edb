"""`vedette links`: groups of accounts that share devices, payees and addresses."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.cells import cell

if TYPE_CHECKING:
    from features.link_snapshot import LinkSnapshot

FOLDER = typer.Option(Path("var/links"), "--folder", metavar="DIR", help="folder of the snapshots")
JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    links = typer.Typer(
        no_args_is_help=True, help="Groups of accounts that share devices, payees and addresses, as of a moment."
    )
    links.command()(build)
    links.command(name="list")(listed)
    links.command()(show)
    app.add_typer(links, name="links")


def build(
    files: list[Path] = typer.Argument(metavar="FILE…", help=".csv or .parquet files of transactions, in any order"),
    mapping: str = typer.Option("vedette", "--mapping", metavar="NAME", help="mapping of their columns"),
    as_of: str = typer.Option(
        "",
        "--as-of",
        metavar="TIME",
        help="the moment; later payments and labels do not count [default: the last payment]",
    ),
    days: int = typer.Option(30, "--days", min=1, help="days of payments before that moment"),
    hub: int = typer.Option(30, "--hub", min=2, help="what more accounts share than this links nobody"),
    device: float = typer.Option(1.0, "--device", min=0, help="weight of a shared device; 0: none"),
    payee: float = typer.Option(0.5, "--payee", min=0, help="weight of a shared payee; 0: none"),
    ip: float = typer.Option(0.3, "--ip", min=0, help="weight of a shared address; 0: none"),
    seed: int = typer.Option(0, "--seed", min=0, help="seed of the search for groups"),
    folder: Path = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Find the groups and save them as a snapshot, whose id is printed.

    The same payments, options and moment give the same id.
    """
    from itertools import chain

    from cli.progress import bars, shown, total_rows
    from features.link_snapshot import save
    from features.links import LinkSettings, collect
    from producers.files import RejectFile, read_batches
    from producers.mapping import load_mapping
    from vedette.clock import parse_time

    known = load_mapping(mapping)
    settings = LinkSettings(days=days, hub=hub, device=device, payee=payee, ip=ip, seed=seed)
    with RejectFile(Path(f"{files[0].stem}.rejects.csv")) as rejected, bars() as bar:
        batches = chain.from_iterable(read_batches(file, known, on_reject=rejected.add) for file in files)
        moment = parse_time(as_of) if as_of else None
        found = collect(shown(batches, bar("reading", total_rows(files))), moment, settings)
    snapshot = save(folder, found, settings)
    if rejected.count:
        typer.echo(f"{rejected.count:,} rows were rejected; see {rejected.path}", err=True)
    if as_json:
        _json(_described(snapshot) | {"folder": str(folder / snapshot.id)})
    else:
        typer.echo(f"{_sentence(snapshot)}; written to {folder / snapshot.id}")


def listed(folder: Path = FOLDER, as_json: bool = JSON) -> None:
    """List the snapshots, the oldest moment first."""
    from features.link_snapshot import snapshots

    every = snapshots(folder)
    if as_json:
        _json({"snapshots": [_described(one) for one in every]})
    elif every:
        for one in every:
            typer.echo(_sentence(one))
    else:
        typer.echo(f"there are no links in {folder}")


def show(
    account: str = typer.Argument(metavar="ACCOUNT", help="id of the account"),
    snapshot: str = typer.Option("", "--snapshot", metavar="ID", help="[default: the one of the latest moment]"),
    hops: int = typer.Option(1, "--hops", min=1, max=3, help="accounts to go"),
    folder: Path = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Show an account's group and what it shares with whom."""
    from features.link_neighbourhood import neighbourhood
    from features.link_snapshot import load

    saved, links = load(folder, snapshot)
    found = neighbourhood(links, account, hops)
    if as_json:
        _json({"snapshot": _described(saved), **found})
    else:
        _print(saved, found)


def _print(saved: "LinkSnapshot", found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from vedette.clock import format_time

    console = Console(soft_wrap=True)
    hops = found["links_fraud_hops"]
    near = "none within 4 accounts" if hops is None else f"{hops:.0f} away"
    console.print(
        f"{cell(found['account'])}: a group of {found['members']}, {found['links_fraud_share']:.0%} of the others with "
        f"a confirmed fraud, {found['links_growth']:.0%} new within {saved.settings.growth_days} days; nearest "
        f"confirmed fraud {near} (links {saved.id} as of {format_time(saved.as_of)})",
        markup=False, highlight=False,
    )  # fmt: skip
    far = {one["account"]: one for one in found["neighbours"]}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("account", "hops", "shares", "payments", "last", ""):
        table.add_column(heading, overflow="fold")
    for edge in sorted(found["links"], key=lambda one: (far.get(one["account"], {}).get("hops", 0), one["account"])):
        one = far.get(edge["account"], {"hops": 0, "fraud": found["fraud"]})
        table.add_row(
            cell(edge["account"]), str(one["hops"]), f"{edge['kind']} {cell(edge['name'])}", f"{edge['payments']:,}",
            format_time(edge["last"])[:16], "confirmed fraud" if one["fraud"] else "",
        )  # fmt: skip
    if found["links"]:
        console.print(table)
    else:
        console.print("it shares nothing with others")
    if found["left_out"]:
        console.print(f"{found['left_out']:,} more neighbours are not listed")


def _sentence(one: "LinkSnapshot") -> str:
    from vedette.clock import format_time

    return (
        f"links {one.id} as of {format_time(one.as_of)}: {one.accounts:,} accounts, {one.groups:,} groups, "
        f"{one.edges:,} links, {one.frauds:,} accounts with a confirmed fraud"
    )


def _described(one: "LinkSnapshot") -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(one))


def _json(content: dict[str, Any]) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(content).decode())
