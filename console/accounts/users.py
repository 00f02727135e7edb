"""Accounts of people: a role, a password and an authenticator app, which an invitation sets up."""

import hashlib
import re
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from access.keyring import Entropy, Keyring
from challenges.codes import new_secret, new_token, totp_step, typed
from console.accounts import passwords
from console.accounts.tables import invitations, sessions, users
from console.roles import PERMISSIONS, Permission, StaffRole
from vedette.clock import HOUR, MINUTE, Clock
from vedette.errors import InputError

INVITATION_LIFETIME = 24 * HOUR
SIGN_IN_LIFETIME = 10 * MINUTE
_LOCK_AFTER, _LOCK_FOR = 10, 5 * MINUTE
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_PURPOSE = "console authenticator"
_RESERVED = frozenset({"operator", "customer", "service", "unknown"})
"""Names of the audit log for others than people of the console."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person of the console.

    Attributes:
        active: Whether they can sign in: by what they set up when invited, or by the identity provider.
        epoch: Number of times that all sessions were ended.
        identity: Hash of issuer and subject of somebody who signs in by the identity provider; else empty.
        app: Whether an authenticator app is set up.
    """

    id: int
    name: str
    role: StaffRole
    active: bool
    epoch: int
    created_at: int
    disabled_at: int | None = None
    identity: str = ""
    app: bool = False

    def may(self, permission: Permission) -> bool:
        """Return whether the role has a permission."""
        return permission in PERMISSIONS[self.role]


class Invitation(msgspec.Struct, frozen=True):
    """An open invitation, with the secret of the authenticator app to be set up; empty for a link that signs in."""

    user: User
    secret: bytes


class Users:
    """The accounts of one database.

    Args:
        engine: The database.
        keyring: Seals the secrets of authenticator apps.
        clock: The clock.
        entropy: Source of tokens and secrets.
    """

    def __init__(self, engine: Engine, keyring: Keyring, clock: Clock, entropy: Entropy) -> None:
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._keyring, self._clock, self._entropy = keyring, clock, entropy

    def add(self, name: str, role: StaffRole) -> str:
        """Create an account and return the token of its invitation.

        Raises:
            InputError: The name is not valid or taken.
        """
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise InputError(
                f"{name!r} is not a user name",
                remedy="use lower-case letters, digits, '.', '_' and '-', beginning with a letter; at most 64",
            )
        try:
            with self._engine.begin() as connection:
                row = {"name": name, "role": role.value, "created_at": self._clock.now_ms()}
                number = connection.execute(insert(users).values(row).returning(users.c.id)).scalar_one()
                return self._invite(connection, number)
        except IntegrityError as error:
            raise InputError(f"there is already a user {name!r}", remedy="`vedette console user list`") from error

    def invite(self, name: str) -> str:
        """Void password, authenticator, sessions and earlier invitations of an account; return a new invitation.

        Raises:
            InputError: There is no such user.
        """
        with self._engine.begin() as connection:
            user = self._local(connection, name)
            cleared = {"password": "", "authenticator": "", "failures": 0, "locked_until": 0, "disabled_at": None}
            connection.execute(update(users).where(users.c.id == user.id).values(cleared | {"epoch": user.epoch + 1}))
            return self._invite(connection, user.id)

    def disable(self, name: str) -> User:
        """Disable an account and end its sessions.

        Raises:
            InputError: There is no such user.
        """
        with self._engine.begin() as connection:
            user = self._named(connection, name)
            changed = {"disabled_at": self._clock.now_ms(), "epoch": user.epoch + 1}
            connection.execute(update(users).where(users.c.id == user.id).values(changed))
            connection.execute(delete(invitations).where(invitations.c.user_id == user.id))
            return user

    def enable(self, name: str) -> User:
        """Undo the disabling of an account of the identity provider; a local one is invited again.

        Raises:
            InputError: There is no such user, or it is a local account.
        """
        with self._engine.begin() as connection:
            user = self._named(connection, name)
            if not user.identity:
                raise InputError(f"user {name!r} is a local account", remedy="invite the user again")
            connection.execute(update(users).where(users.c.id == user.id).values(disabled_at=None))
            return user

    def provision(self, identity: str, name: str, role: StaffRole) -> User | None:
        """Return the user of an identity, created if there is none, with the role; None if disabled.

        Args:
            identity: Hash of issuer and subject.
            name: The name that a new user gets, with an ending if somebody else has it.
            role: The role, which replaces an earlier one.
        """
        names = (*({name} - _RESERVED), f"{name}-{identity[:6]}", f"{name}-{identity[:12]}")
        row = {"role": role.value, "identity": identity, "created_at": self._clock.now_ms()}
        for free in names:
            with self._engine.begin() as connection:
                changed = update(users).where(users.c.identity == identity).values(role=role.value)
                if connection.execute(changed).rowcount:
                    found = connection.execute(select(users).where(users.c.identity == identity)).mappings().one()
                    return None if found["disabled_at"] is not None else user_of(found)
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(users).values(row | {"name": free}))
            except IntegrityError:  # somebody else has the name, or the same person signs in twice at once
                continue
            return self.provision(identity, name, role)
        raise InputError(f"no user name is free for {name!r}", remedy="another [oidc] name_claim")

    def revoke(self, identity: str) -> None:
        """End all sessions of an identity, whose groups no longer give a role."""
        with self._engine.begin() as connection:
            ended = update(users).where(users.c.identity == identity).values(epoch=users.c.epoch + 1)
            connection.execute(ended)

    def all(self) -> Sequence[User]:
        """Return all accounts by name."""
        with self._reading.connect() as connection:
            return [user_of(row) for row in connection.execute(select(users).order_by(users.c.name)).mappings()]

    def invitation(self, token: str) -> Invitation | None:
        """Return an invitation that is still good."""
        with self._reading.connect() as connection:
            return self._invitation(connection, token)

    def accept(self, token: str, password: str, code: str) -> User | None:
        """Set password and authenticator by an invitation, which is used up; None if it or the code is not good.

        Raises:
            InputError: The password is not acceptable.
        """
        found = self.invitation(token)
        if found is None or not found.secret:
            return None
        hashed = passwords.new_hash(password, found.user.name)
        step = totp_step(found.secret, typed(code), self._clock.now_ms(), 0)
        if step is None:
            return None
        with self._engine.begin() as connection:
            if self._invitation(connection, token) is None:
                return None
            connection.execute(delete(invitations).where(invitations.c.user_id == found.user.id))
            sealed = self._seal(found.secret, found.user.id)
            changed = {"password": hashed, "authenticator": sealed, "last_step": step}
            connection.execute(update(users).where(users.c.id == found.user.id).values(changed))
            return self._named(connection, found.user.name)

    def sign_in_link(self, name: str, lifetime: int = SIGN_IN_LIFETIME) -> str:
        """Return a token that signs a user in once.

        Raises:
            InputError: There is no such user, or the account is disabled or not set up.
        """
        token = new_token(self._entropy)
        with self._engine.begin() as connection:
            user = self._local(connection, name)
            if not user.active or user.disabled_at is not None:
                raise InputError(f"user {name!r} is disabled, or has not accepted the invitation")
            row = {"token_hash": token_hash(token), "user_id": user.id, "authenticator": ""}
            connection.execute(insert(invitations).values(row | {"expires_at": self._clock.now_ms() + lifetime}))
        return token

    def follow(self, token: str) -> User | None:
        """Use up a link that signs in; None if it is not good."""
        with self._engine.begin() as connection:
            found = self._invitation(connection, token)
            if found is None or found.secret or found.user.disabled_at is not None:
                return None
            connection.execute(delete(invitations).where(invitations.c.token_hash == token_hash(token)))
            return found.user

    def sign_in(self, name: str, password: str, code: str) -> User | None:
        """Return the user if password and code are right. Ten failures in a row lock the account for five minutes."""
        with self._reading.connect() as connection:
            row = self._row(connection, name)
        counted = row is not None and row["disabled_at"] is None and self._count(row["id"])
        known = passwords.fits(row["password"] if row else "", password)
        if row is None or not (counted and known):
            return None
        return user_of(row) if self._proves(row, code) else None

    def prove(self, user: User, code: str) -> bool:
        """Return whether a code is right, for a step that needs one again; failures count as in sign_in."""
        with self._reading.connect() as connection:
            row = connection.execute(select(users).where(users.c.id == user.id)).mappings().one()
        return self._count(user.id) and self._proves(row, code)

    def end_sessions(self, user: User) -> None:
        """End all sessions of a user."""
        with self._engine.begin() as connection:
            connection.execute(update(users).where(users.c.id == user.id).values(epoch=users.c.epoch + 1))
            connection.execute(delete(sessions).where(sessions.c.user_id == user.id))

    def _count(self, number: int) -> bool:
        """Count a try as a failure until it succeeds, so that tries in parallel count too; False if locked."""
        now = self._clock.now_ms()
        failures = users.c.failures + 1
        locked = case((failures % _LOCK_AFTER == 0, now + _LOCK_FOR), else_=users.c.locked_until)
        open_ = (users.c.id == number, users.c.locked_until <= now)
        with self._engine.begin() as connection:
            tried = update(users).where(*open_).values(failures=failures, locked_until=locked)
            return bool(connection.execute(tried).rowcount)

    def _proves(self, row: RowMapping, code: str) -> bool:
        """Use up a code, which ends the count of failures: of two at once, one succeeds."""
        if not row["authenticator"]:
            return False
        secret = self._keyring.unseal(row["authenticator"], f"{_PURPOSE} {row['id']}")
        step = totp_step(secret, typed(code), self._clock.now_ms(), row["last_step"])
        if step is None:
            return False
        fresh = (users.c.id == row["id"], users.c.last_step < step)
        changed = {"last_step": step, "failures": 0, "locked_until": 0}
        with self._engine.begin() as connection:
            return bool(connection.execute(update(users).where(*fresh).values(changed)).rowcount)

    def _invite(self, connection: Connection, number: int) -> str:
        token = new_token(self._entropy)
        connection.execute(delete(invitations).where(invitations.c.user_id == number))
        row = {
            "token_hash": token_hash(token),
            "user_id": number,
            "authenticator": self._seal(new_secret(self._entropy), number),
            "expires_at": self._clock.now_ms() + INVITATION_LIFETIME,
        }
        connection.execute(insert(invitations).values(row))
        return token

    def _invitation(self, connection: Connection, token: str) -> Invitation | None:
        query = (
            select(users, invitations.c.authenticator.label("offered"))
            .join(invitations, invitations.c.user_id == users.c.id)
            .where(invitations.c.token_hash == token_hash(token), invitations.c.expires_at > self._clock.now_ms())
        )
        row = connection.execute(query).mappings().first()
        if row is None:
            return None
        sealed = row["offered"]
        return Invitation(user_of(row), self._keyring.unseal(sealed, f"{_PURPOSE} {row['id']}") if sealed else b"")

    def _seal(self, secret: bytes, number: int) -> str:
        return self._keyring.seal(secret, f"{_PURPOSE} {number}", self._entropy)

    def _named(self, connection: Connection, name: str) -> User:
        row = self._row(connection, name)
        if row is None:
            raise InputError(f"there is no user {name[:64]!r}", remedy="`vedette console user list` shows all of them")
        return user_of(row)

    def _local(self, connection: Connection, name: str) -> User:
        user = self._named(connection, name)
        if user.identity:
            raise InputError(f"user {name!r} signs in by the identity provider", remedy="help them to sign in there")
        return user

    def _row(self, connection: Connection, name: str) -> RowMapping | None:
        # A name of another form is not looked up: a database refuses some characters.
        query = select(users).where(users.c.name == name)
        return connection.execute(query).mappings().first() if _NAME.fullmatch(name) else None


def invitation_link(public_url: str, token: str) -> str:
    """Return the link of an invitation."""
    return f"{public_url.rstrip('/')}/invitation/{token}"


def token_hash(token: str) -> str:
    """Return the hash under which a random token is kept; it needs no key, as the token cannot be guessed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def user_of(row: RowMapping) -> User:
    """Return the user of a row of the table."""
    active = bool(row["password"] or row["identity"])
    return User(
        id=row["id"], name=row["name"], role=StaffRole(row["role"]), active=active, epoch=row["epoch"],
        created_at=row["created_at"], disabled_at=row["disabled_at"], identity=row["identity"] or "",
        app=bool(row["authenticator"]),
    )  # fmt: skip
