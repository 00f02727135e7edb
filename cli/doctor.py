"""`vedette doctor`: check everything that Vedette depends on."""

import typer

from cli.context import settings_of

_JSON = typer.Option(False, "--json", help="print JSON")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(ctx: typer.Context, as_json: bool = _JSON) -> None:
    """Check everything that Vedette depends on, and print a remedy for each problem; exit code 1 if there is one."""
    import msgspec

    from adapters.redis import connect
    from decisions.policy_file import load_policy
    from features.identity import OPEN, identity_of
    from models.scorer import load_scorer
    from stack.doctor import checks, examine
    from vedette import SystemClock
    from vedette.errors import SettingsError

    def settings_read() -> str:
        settings_of(ctx)
        return "valid"

    def model_loaded() -> str:
        folder = settings_of(ctx).decisions.model_folder
        load_scorer(folder)
        return str(folder)

    def policy_loaded() -> str:
        file = settings_of(ctx).decisions.policy_file
        load_policy(file)
        return str(file)

    def identity_keyed() -> str:
        identity = settings_of(ctx).identity
        if identity_of(identity) is OPEN:
            raise SettingsError(
                "[identity] key is not set, so whoever reads Redis finds accounts and devices by trying names",
                remedy="`vedette identity keygen` makes one; name its file in [identity] key_file, for all workers",
            )
        return "identifiers are hashed under the deployment's key"

    found = [examine("settings", settings_read)]
    if found[0].ok:
        found += checks(settings_of(ctx), SystemClock(), connect)
        found += [
            examine("model", model_loaded),
            examine("policy", policy_loaded),
            examine("identity", identity_keyed),
        ]
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        for check in found:
            typer.echo(f"{'ok     ' if check.ok else 'PROBLEM'} {check.name}: {check.detail}")
            if check.remedy:
                typer.echo(f"        {check.remedy}")
    raise typer.Exit(0 if all(check.ok for check in found) else 1)
