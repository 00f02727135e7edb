"""Operations on credentials by the operator; each is in the audit log."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from access.audit import Audit, open_audit
from access.credentials import Created, Credential, Credentials
from access.keyring import DeferredKeyring
from access.roles import Role, Scope
from adapters.database import open_database
from vedette.clock import SystemClock
from vedette.errors import InputError
from vedette.settings import Settings

ACTOR = "operator"


def create(settings: Settings, name: str, role: str, scopes: Iterable[str], *, days: int) -> Created:
    """Create a credential, see Credentials.create.

    Raises:
        InputError: There is no such role or scope, or the role does not include it.
        SettingsError: [mfa] keys or [audit] key is missing.
    """
    known, chosen = _role(role), [_scope(scope) for scope in scopes]
    with _audit(settings) as audit, _opened(settings) as credentials:
        made = credentials.create(name, known, chosen, days=days)
        details = {"name": name, "role": role, "scopes": " ".join(made.credential.scopes)}
        audit.record("access.created", f"credential:{made.credential.id}", details)
        return made


def list_all(settings: Settings) -> list[Credential]:
    """Return all credentials, including revoked and expired ones, oldest first."""
    with _opened(settings) as credentials:
        return credentials.all()


def revoke(settings: Settings, credential_id: str) -> Credential:
    """Revoke a credential, see Credentials.revoke.

    Raises:
        InputError: There is no such credential.
        SettingsError: [audit] key is missing.
    """
    with _audit(settings) as audit, _opened(settings) as credentials:
        ended = credentials.revoke(credential_id)
        audit.record("access.revoked", f"credential:{ended.id}", {"name": ended.name})
        return ended


def _audit(settings: Settings) -> Audit:
    return open_audit(settings.audit, SystemClock(), ACTOR)


@contextmanager
def _opened(settings: Settings) -> Iterator[Credentials]:
    engine = open_database(settings.database)
    try:
        yield Credentials(engine, DeferredKeyring(settings.mfa), SystemClock(), os.urandom)
    finally:
        engine.dispose()


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError as error:
        raise InputError(f"there is no role {name!r}", remedy=f"one of {', '.join(Role)}") from error


def _scope(name: str) -> Scope:
    try:
        return Scope(name)
    except ValueError as error:
        raise InputError(f"there is no scope {name!r}", remedy=f"one of {', '.join(Scope)}") from error
