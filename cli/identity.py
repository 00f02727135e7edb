"""`vedette identity`: the key under which identifiers are hashed."""

import typer


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="The key under which accounts, devices and addresses are hashed.")
    group.command()(keygen)
    group.callback()(lambda: None)  # so that its one command keeps its name
    app.add_typer(group, name="identity")


def keygen() -> None:
    """Print a new key. All workers of a deployment have the same; state written under another one is refused."""
    import secrets

    typer.echo(secrets.token_hex(32))
