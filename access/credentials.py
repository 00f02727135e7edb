"""Credentials in SQL: they survive every cache and restart, and are backed up with the data they protect.

An API key is `vdt_<id>_<secret>`; id and secret are also the client id and secret of OAuth2. Only a keyed hash of the
256-bit secret is stored, so a stolen database is useless, and no slow hash is needed, as the secret cannot be guessed.
"""

import re
from collections.abc import Iterable
from functools import cached_property

import msgspec
from sqlalchemy import Engine, RowMapping, insert, select, update

from access.keyring import Entropy, Keyring
from access.roles import SCOPES, Role, Scope
from access.tables import credentials as table
from vedette.clock import DAY, Clock
from vedette.errors import InputError

PREFIX = "vdt"
_PURPOSE = "credential"
_ID_BYTES, _SECRET_BYTES = 8, 32
_LONGEST_NAME = 64
_ID = re.compile(r"[0-9a-f]{16}")


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A permission to call the API. Times are milliseconds since 1970-01-01 UTC."""

    id: str
    name: str
    role: Role
    scopes: tuple[Scope, ...]
    created_at: int
    expires_at: int
    revoked_at: int | None = None


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A new credential with its API key, which is shown only once."""

    credential: Credential
    api_key: str


class Credentials:
    """The credentials of one institution.

    Args:
        engine: The database.
        keyring: Keys of the hashes.
        clock: Clock for creation and expiry.
        entropy: Source of ids and secrets.
    """

    def __init__(self, engine: Engine, keyring: Keyring, clock: Clock, entropy: Entropy) -> None:
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._keyring, self._clock, self._entropy = keyring, clock, entropy

    def create(self, name: str, role: Role, scopes: Iterable[Scope] = (), *, days: int = 365) -> Created:
        """Create a credential.

        Args:
            name: Name of the owner.
            role: Role of the owner.
            scopes: Permitted scopes; all scopes of the role if empty.
            days: Days until it expires.

        Raises:
            InputError: The name is empty or long, or the role has no such scope.
        """
        if not 1 <= len(name) <= _LONGEST_NAME:
            raise InputError(f"name {name!r} has {len(name)} characters", remedy="use 1 to 64")
        chosen = frozenset(scopes) or SCOPES[role]
        if beyond := chosen - SCOPES[role]:
            raise InputError(
                f"role {role} has no scope {', '.join(sorted(beyond))}",
                remedy=f"it has {', '.join(sorted(SCOPES[role]))}",
            )
        now = self._clock.now_ms()
        secret = self._entropy(_SECRET_BYTES).hex()
        made = Credential(
            id=self._entropy(_ID_BYTES).hex(),
            name=name,
            role=role,
            scopes=tuple(sorted(chosen)),
            created_at=now,
            expires_at=now + days * DAY,
        )
        hashed = self._keyring.hash(_PURPOSE, made.id, secret)
        row = msgspec.structs.asdict(made) | {"scopes": " ".join(made.scopes), "hash": hashed}
        with self._engine.begin() as connection:
            connection.execute(insert(table).values(row))
        return Created(credential=made, api_key=f"{PREFIX}_{made.id}_{secret}")

    def all(self) -> list[Credential]:
        """Return all credentials, including revoked and expired ones, oldest first."""
        with self._reading.connect() as connection:
            rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id)).mappings()
            return [_credential(row) for row in rows]

    def revoke(self, id_: str) -> Credential:
        """Revoke a credential now, with every token issued for it.

        Raises:
            InputError: There is no such credential.
        """
        with self._engine.begin() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == id_, table.c.revoked_at.is_(None))
                .values(revoked_at=self._clock.now_ms())
            )
            row = connection.execute(select(table).where(table.c.id == id_)).mappings().first()
        if row is None:
            raise InputError(f"there is no credential {id_!r}", remedy="`vedette access list` shows all of them")
        return _credential(row)

    def by_id(self, id_: str) -> Credential | None:
        """Return the credential of this id, if it is in force."""
        row = self._row(id_)
        return self._in_force(row) if row else None

    def by_api_key(self, text: str) -> Credential | None:
        """Return the credential of an API key, if it is in force."""
        prefix, _, rest = text.partition("_")
        id_, _, secret = rest.partition("_")
        return self.by_secret(id_, secret) if prefix == PREFIX else None

    def by_secret(self, id_: str, secret: str) -> Credential | None:
        """Return the credential of this id and secret, if it is in force; it takes as long for an unknown id."""
        row = self._row(id_)
        hashed = row["hash"] if row else self._nobody
        if not self._keyring.fits(hashed, _PURPOSE, id_, secret) or row is None:
            return None
        if not hashed.startswith(f"{self._keyring.current}:"):
            with self._engine.begin() as connection:
                renewed = self._keyring.hash(_PURPOSE, id_, secret)
                connection.execute(update(table).where(table.c.id == id_).values(hash=renewed))
        return self._in_force(row)

    @cached_property
    def _nobody(self) -> str:
        """The hash of a secret that nobody has."""
        return self._keyring.hash(_PURPOSE, self._entropy(_SECRET_BYTES).hex())

    def _row(self, id_: str) -> RowMapping | None:
        if not _ID.fullmatch(id_):  # an invalid id is not looked up: a database refuses some characters
            return None
        with self._reading.connect() as connection:
            return connection.execute(select(table).where(table.c.id == id_)).mappings().first()

    def _in_force(self, row: RowMapping) -> Credential | None:
        credential = _credential(row)
        return credential if credential.revoked_at is None and self._clock.now_ms() < credential.expires_at else None


def _credential(row: RowMapping) -> Credential:
    fields = {name: row[name] for name in Credential.__struct_fields__}
    scopes = tuple(Scope(scope) for scope in row["scopes"].split())
    return Credential(**fields | {"role": Role(row["role"]), "scopes": scopes})
