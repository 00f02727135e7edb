"""Operations on accounts by the operator of the machine; each is in the audit log."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from access.audit import OccasionalAudit
from access.keyring import DeferredKeyring, Keyring, keyring_of
from adapters.database import open_database
from console.accounts.users import User, Users, invitation_link
from console.roles import StaffRole
from vedette.clock import SystemClock
from vedette.errors import InputError
from vedette.settings import Settings

ACTOR = "operator"


def add(settings: Settings, name: str, role: str) -> str:
    """Create a user and return the link of the invitation.

    Raises:
        InputError: The name is not valid or taken, or there is no such role.
        SettingsError: [mfa] keys or [audit] key is missing.
    """
    try:
        known = StaffRole(role)
    except ValueError as error:
        raise InputError(f"there is no role {role!r}", remedy=f"one of {', '.join(StaffRole)}") from error
    with _opened(settings, keyring_of(settings.mfa)) as (users, audit):
        audit.record("console.user-added", f"user:{name}", {"role": role})
        return invitation_link(settings.console.public_url, users.add(name, known))


def invite(settings: Settings, name: str) -> str:
    """Void password, authenticator and sessions of a user; return the link of a new invitation.

    Raises:
        InputError: There is no such user.
    """
    with _opened(settings, keyring_of(settings.mfa)) as (users, audit):
        audit.record("console.user-invited", f"user:{name}", {})
        return invitation_link(settings.console.public_url, users.invite(name))


def link(settings: Settings, name: str) -> str:
    """Return a link that signs a user in once, within ten minutes.

    Raises:
        InputError: There is no such user, or the account is disabled or not set up.
    """
    with _opened(settings) as (users, audit):
        audit.record("console.link-made", f"user:{name}", {})
        return invitation_link(settings.console.public_url, users.sign_in_link(name))


def disable(settings: Settings, name: str) -> User:
    """Disable a user and end their sessions.

    Raises:
        InputError: There is no such user.
    """
    with _opened(settings) as (users, audit):
        audit.record("console.user-disabled", f"user:{name}", {})
        return users.disable(name)


def list_all(settings: Settings) -> Sequence[User]:
    """Return all users by name."""
    with _opened(settings) as (users, _):
        return users.all()


@contextmanager
def _opened(settings: Settings, keyring: Keyring | None = None) -> Iterator[tuple[Users, OccasionalAudit]]:
    clock, engine = SystemClock(), open_database(settings.database)
    try:
        users = Users(engine, keyring or DeferredKeyring(settings.mfa), clock, os.urandom)
        yield users, OccasionalAudit(settings.audit, clock, ACTOR)
    finally:
        engine.dispose()
