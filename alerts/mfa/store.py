"""Challenges and accounts in Redis, each a JSON value that is only ever replaced in one atomic step.

Of shard 3 with prefix `vedette:` — `vedette:mfa:{3}c:<challenge id>` and `vedette:mfa:{3}a:<account id>` are records;
`vedette:mfa:{3}open` (by end of life), `…tell` (by when to try) and `…out` (by when it happened) are the queues of
challenges to expire, of customers to be told, and of what is to be published, as `<stage>:<challenge id>`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from alerts.mfa.connection import reachable
from alerts.mfa.engine import State
from alerts.mfa.records import Account, Record, shard_of
from alerts.mfa.shards import Shards
from vedette.clock import DAY
from vedette.errors import StateError

Stage = Literal["issued", "settled"]

KEPT_MS = 30 * DAY
"""A challenge is forgotten so long after its last change; until then one asked for again is recognised."""

_FOLDER = Path(__file__).parent

R = TypeVar("R", Record, Account)


class Store(Shards):
    """The records. Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See connection.connect.
        prefix: Put before every key.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(client, f"{prefix}mfa:")
        self._commit = self._script(_FOLDER / "commit.lua")
        self._swap = self._script(_FOLDER / "swap.lua")

    def account(self, account_id: str) -> Account:
        """An account; one never heard of is empty."""
        return _decode(self._get(self._account(account_id)), Account) or Account(account_id=account_id)

    def state(self, challenge_id: str) -> State | None:
        """A challenge and its account, or None where there is no such challenge."""
        record = _decode(self._get(self._item(challenge_id)), Record)
        return State(record, self.account(record.binding.account_id)) if record else None

    def look(self, challenge_id: str, account_id: str) -> tuple[Record | None, Account]:
        """A challenge, or None where there is no such challenge, and the account that it is or would be about."""
        with reachable():
            record, account = self._client.mget(self._item(challenge_id), self._account(account_id))
        return _decode(record, Record), _decode(account, Account) or Account(account_id=account_id)

    def records(self, challenge_ids: Sequence[str]) -> list[Record | None]:
        """Challenges without their accounts; None where there is no such challenge."""
        return [_decode(value, Record) for value in self._items(challenge_ids)]

    def replace(
        self, before: State | None, after: State, *, tell_at: int | Literal["keep"] | None = None,
        stage: Stage | Literal[""] = "", at: int = 0,
    ) -> bool:  # fmt: skip
        """Store a challenge and its account, unless either is no longer what it was read as.

        Args:
            before: As they were read; None: there was no such challenge, and `after.account` is as it was read.
            after: As they shall be. An open challenge is queued for its expiry, a settled one no longer.
            tell_at: Queue the customer to be told then; None: not, or no longer; "keep": as it is.
            stage: Queue this to be published; `at` is when it happened.
            at: Milliseconds since epoch.

        Returns:
            Whether it was stored; if not, nothing was changed.
        """
        record, account = after.record, after.account
        shard = shard_of(account.account_id)
        was, old = (before.record, before.account) if before else (None, account)
        with reachable():
            return bool(
                self._commit(
                    keys=[
                        self._key(shard, f"c:{record.challenge_id}"),
                        self._account(account.account_id),
                        *(self._key(shard, queue) for queue in ("open", "tell", "out")),
                    ],
                    args=[
                        _encode(was), _encode(record), KEPT_MS, _encode(old), _encode(account), record.challenge_id,
                        record.expires_at if record.status == "issued" else "",
                        "" if tell_at is None else tell_at,
                        stage, at,
                    ],
                )
            )  # fmt: skip

    def replace_account(self, before: Account, after: Account) -> bool:
        """Store an account, unless it is no longer what it was read as; whether it was stored."""
        with reachable():
            return bool(self._swap(keys=[self._account(before.account_id)], args=[_encode(before), _encode(after)]))

    def remember(self, kind: str, name: str, value: str, keep_ms: int) -> None:
        """Keep a short-lived value, such as a session's."""
        with reachable():
            self._client.set(f"{self._prefix}{kind}:{name}", value, px=keep_ms)

    def recall(self, kind: str, name: str) -> str | None:
        """What was kept, or None."""
        found = self._get(f"{self._prefix}{kind}:{name}")
        return None if found is None else found.decode()

    def drop(self, kind: str, name: str) -> str | None:
        """Take out what was kept: of any number of callers one gets it."""
        with reachable():
            found = self._client.getdel(f"{self._prefix}{kind}:{name}")
        return None if found is None else str(found.decode())

    def count(self, name: str, keep_ms: int) -> int:
        """One more of something; gives how many there are now."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            pipe.incr(f"{self._prefix}n:{name}")
            pipe.pexpire(f"{self._prefix}n:{name}", keep_ms)
            return int(pipe.execute()[0])

    def accounts(self) -> Iterator[str]:
        """The ids of all accounts, in no order; for rotation of keys."""
        lead = f"{self._prefix}{{*}}a:"
        with reachable():
            for key in self._client.scan_iter(match=f"{lead}*", count=1000):
                yield key.decode().partition("}a:")[2]


def _encode(record: Record | Account | None) -> bytes:
    """The stored form; nothing for what is not there, and an account without anything is not there either."""
    if record is None or (isinstance(record, Account) and record == Account(account_id=record.account_id)):
        return b""
    return msgspec.json.encode(record)


def _decode(value: bytes | None, kind: type[R]) -> R | None:
    if not value:
        return None
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise StateError(f"a stored {kind.__name__.lower()} cannot be read: {error}") from error
