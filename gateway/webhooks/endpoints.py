"""The registered endpoints. Every function works in its caller's transaction, but those of Endpoints."""

import base64
from collections.abc import Iterable
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from access.keyring import Entropy, Keyring
from access.ports import AuditSink
from adapters.public_addresses import check_url
from gateway.webhooks.events import TYPES, EventType
from gateway.webhooks.tables import deliveries, endpoints
from vedette.clock import Clock
from vedette.errors import InputError, StateError
from vedette.events import Action

EndpointState = Literal["active", "paused"]

_MOST = 100
"""Maximum number of endpoints: each is offered every event."""
_ID_BYTES, _SECRET_BYTES = 8, 32
_PREFIX, _SECRET_PREFIX = "we_", "whsec_"
_LIST = ("id", "url", "events", "actions", "state", "paused_because", "failures", "created_at")


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A registered address.

    Attributes:
        id: Its id.
        url: Where events are posted.
        events: Types of the events it gets.
        actions: Actions of the decisions it gets; empty: all.
        state: active or paused; events for a paused endpoint wait.
        paused_because: Why it was paused, if Vedette has paused it.
        failures: Failed attempts in a row.
        created_at: When it was registered, ms since 1970 UTC; earlier events are not for it.
    """

    id: str
    url: str
    events: list[EventType]
    actions: list[Action]
    state: EndpointState
    paused_because: str
    failures: int
    created_at: int


class RegisteredEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A new endpoint with the secret that its receiver verifies signatures with, which is shown only once."""

    endpoint: WebhookEndpoint
    secret: str


class Endpoints:
    """Registers, pauses and removes endpoints; each action is in the audit log before it is done.

    Args:
        engine: The database.
        keyring: Encrypts the secrets.
        clock: The clock.
        entropy: Source of ids and secrets.
        audit: The audit log.
        allow_private: Whether plain HTTP and private addresses are allowed.
    """

    def __init__(
        self, engine: Engine, keyring: Keyring, clock: Clock, entropy: Entropy, audit: AuditSink, *,
        allow_private: bool,
    ) -> None:  # fmt: skip
        self._engine, self._reading = engine, engine.execution_options(reads=True)
        self._keyring, self._clock, self._entropy, self._audit = keyring, clock, entropy, audit
        self._allow_private = allow_private

    def add(
        self, url: str, events: Iterable[str], actions: Iterable[str] = (), *, actor: str = ""
    ) -> RegisteredEndpoint:
        """Register an endpoint.

        Args:
            url: Where events are posted.
            events: Types of events; all if empty.
            actions: Actions of decisions; all if empty.
            actor: Who registers it.

        Raises:
            InputError: The URL is not permitted, there is no such event or action, or there are too many endpoints.
        """
        check_url(url, allow_private=self._allow_private)
        chosen = _known(events, TYPES, "event")
        wanted = _known(actions, get_args(Action), "action")
        id_ = _PREFIX + self._entropy(_ID_BYTES).hex()
        secret = _SECRET_PREFIX + base64.b64encode(self._entropy(_SECRET_BYTES)).decode()
        row: dict[str, Any] = {
            "id": id_, "url": url, "secret": self._keyring.seal(secret.encode(), _context(id_), self._entropy),
            "events": " ".join(chosen or TYPES), "actions": " ".join(wanted), "state": "active",
            "created_at": self._clock.now_ms(),
        }  # fmt: skip
        # Path and query may contain a token, so the log has the host only.
        details = {"host": url.split("/")[2], "events": row["events"], "actions": row["actions"]}
        self._audit.record("webhook.added", f"webhook:{id_}", details, actor=actor)
        with self._engine.begin() as connection:
            if (connection.scalar(select(func.count()).select_from(endpoints)) or 0) >= _MOST:
                raise InputError(f"there are {_MOST} webhooks already", remedy="remove one: `vedette webhooks list`")
            connection.execute(insert(endpoints).values(row))
            return RegisteredEndpoint(endpoint=get(connection, id_), secret=secret)

    def all(self) -> list[WebhookEndpoint]:
        """Return all endpoints, oldest first."""
        with self._reading.connect() as connection:
            return registered(connection)

    def pause(self, id_: str, *, actor: str = "") -> WebhookEndpoint:
        """Post nothing more to an endpoint until it is resumed; its events wait.

        Raises:
            InputError: There is no such endpoint.
        """
        return self._change("webhook.paused", id_, actor, {"state": "paused", "paused_because": ""})

    def resume(self, id_: str, *, actor: str = "") -> WebhookEndpoint:
        """Post to an endpoint again, beginning now; see pause."""
        changed = {"state": "active", "paused_because": "", "failures": 0, "retry_at": 0}
        return self._change("webhook.resumed", id_, actor, changed)

    def remove(self, id_: str, *, actor: str = "") -> None:
        """Forget an endpoint and everything that waits for it; see pause."""
        with self._reading.connect() as connection:
            get(connection, id_)
        self._audit.record("webhook.removed", f"webhook:{id_}", {}, actor=actor)
        with self._engine.begin() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.endpoint_id == id_))
            connection.execute(delete(endpoints).where(endpoints.c.id == id_))

    def _change(self, event: str, id_: str, actor: str, values: dict[str, Any]) -> WebhookEndpoint:
        with self._reading.connect() as connection:
            get(connection, id_)
        self._audit.record(event, f"webhook:{id_}", {}, actor=actor)
        with self._engine.begin() as connection:
            connection.execute(update(endpoints).where(endpoints.c.id == id_).values(**values))
            return get(connection, id_)


def registered(connection: Connection) -> list[WebhookEndpoint]:
    """Return all endpoints, oldest first."""
    query = select(*(endpoints.c[name] for name in _LIST)).order_by(endpoints.c.created_at, endpoints.c.id)
    return [_endpoint(row) for row in connection.execute(query)]


def get(connection: Connection, id_: str) -> WebhookEndpoint:
    """Return one endpoint.

    Raises:
        InputError: It does not exist.
    """
    # An id of another form is not looked up: a database refuses some characters.
    valid = id_.isascii() and id_.removeprefix(_PREFIX).isalnum()
    query = select(*(endpoints.c[name] for name in _LIST)).where(endpoints.c.id == id_)
    row = connection.execute(query).one_or_none() if valid else None
    if row is None:
        raise InputError(f"there is no webhook {id_[:40]!r}", remedy="`vedette webhooks list` shows all of them")
    return _endpoint(row)


def secret_of(connection: Connection, id_: str, keyring: Keyring) -> str:
    """Return the secret of an endpoint.

    Raises:
        StateError: It has been removed, or the key that encrypts its secret is gone.
    """
    sealed = connection.scalar(select(endpoints.c.secret).where(endpoints.c.id == id_))
    if sealed is None:
        raise StateError(f"webhook {id_} has been removed")
    return keyring.unseal(sealed, _context(id_)).decode()


def _known(given: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    known, chosen = list(known), set(given)
    if unknown := chosen - set(known):
        raise InputError(f"there is no {what} {min(unknown)[:40]!r}", remedy=f"one of {', '.join(known)}")
    return [name for name in known if name in chosen]


def _context(id_: str) -> str:
    return f"webhook {id_}"


def _endpoint(row: Any) -> WebhookEndpoint:
    fields = dict(row._mapping)  # noqa: SLF001, SQLAlchemy's public way to a row as a mapping
    return WebhookEndpoint(**fields | {"events": row.events.split(), "actions": row.actions.split()})
