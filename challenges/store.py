"""Challenges and accounts in Redis, each a JSON value that is only replaced atomically.

For shard 3 with prefix `vedette:` — `vedette:mfa:{3}c:<challenge id>` and `vedette:mfa:{3}a:<account id>` are records;
`vedette:mfa:{3}open` (by end of life), `…notify` (by when to try) and `…out` (by when it happened) are the queues of
challenges to expire, of customers to be notified, and of what is to be published, as `<stage>:<challenge id>`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from adapters.redis import reachable
from challenges.records import Account, ChallengeRecord
from challenges.shards import Shards
from challenges.state_machine import State
from vedette.challenge_ids import shard_of
from vedette.clock import DAY
from vedette.errors import StateError

PublicationStage = Literal["issued", "settled"]
NotifyAt = int | Literal["keep"] | None

KEPT_MS = 30 * DAY
"""Retention of a challenge after its last change; until then a repeated request is recognised."""

_FOLDER = Path(__file__).parent

R = TypeVar("R", ChallengeRecord, Account)


class ChallengeStore(Shards):
    """The records. Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See connection.connect.
        prefix: Prefix of every key.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(client, f"{prefix}mfa:")
        self._commit = self._script(_FOLDER / "commit.lua")
        self._swap = self._script(_FOLDER / "swap.lua")

    def account(self, account_id: str) -> Account:
        """Return an account; an unknown one is empty."""
        return _decode(self._get(self._account(account_id)), Account) or Account(account_id=account_id)

    def state(self, challenge_id: str) -> State | None:
        """Return a challenge and its account, or None where there is no such challenge."""
        record = _decode(self._get(self._item(challenge_id)), ChallengeRecord)
        return State(record, self.account(record.binding.account_id)) if record else None

    def look(self, challenge_id: str, account_id: str) -> tuple[ChallengeRecord | None, Account]:
        """Return a challenge, or None if there is none, and its account."""
        with reachable():
            record, account = self._client.mget(self._item(challenge_id), self._account(account_id))
        return _decode(record, ChallengeRecord), _decode(account, Account) or Account(account_id=account_id)

    def records(self, challenge_ids: Sequence[str]) -> list[ChallengeRecord | None]:
        """Return challenges without their accounts; None where there is no such challenge."""
        return [_decode(value, ChallengeRecord) for value in self._items(challenge_ids)]

    def replace(
        self, before: State | None, after: State, *, notify_at: NotifyAt = None,
        stage: PublicationStage | Literal[""] = "", at: int = 0,
    ) -> bool:  # fmt: skip
        """Store a challenge and its account, unless either has changed since it was read.

        Args:
            before: The values as read; None: there was no such challenge, and `after.account` is as it was read.
            after: The new values. An open challenge is queued for its expiry, a settled one no longer.
            notify_at: Queue the customer to be notified then; None: not, or no longer; "keep": as it is.
            stage: Queue this to be published; `at` is when it happened.
            at: Milliseconds since epoch.

        Returns:
            Whether it was stored; if not, nothing was changed.
        """
        record, account = after.record, after.account
        shard = shard_of(account.account_id)
        was, old = (before.record, before.account) if before else (None, account)
        with reachable():
            stored = bool(
                self._commit(
                    keys=[
                        self._key(shard, f"c:{record.challenge_id}"),
                        self._account(account.account_id),
                        *(self._key(shard, queue) for queue in ("open", "notify", "out")),
                    ],
                    args=[
                        _encode(was), _encode(record), KEPT_MS, _encode(old), _encode(account), record.challenge_id,
                        record.expires_at if record.status == "issued" else "",
                        "" if notify_at is None else notify_at,
                        stage, at,
                    ],
                )
            )  # fmt: skip
        if stored and stage:
            self._arrived("out")
        if stored and isinstance(notify_at, int):
            self._arrived("notify")
        return stored

    def replace_account(self, before: Account, after: Account) -> bool:
        """Store an account, unless it has changed since it was read; return whether it was stored."""
        with reachable():
            return bool(self._swap(keys=[self._account(before.account_id)], args=[_encode(before), _encode(after)]))

    def remember(self, kind: str, name: str, value: str, keep_ms: int) -> None:
        """Store a short-lived value, such as that of a session."""
        with reachable():
            self._client.set(f"{self._prefix}{kind}:{name}", value, px=keep_ms)

    def recall(self, kind: str, name: str) -> str | None:
        """Return a stored value, or None."""
        found = self._get(f"{self._prefix}{kind}:{name}")
        return None if found is None else found.decode()

    def drop(self, kind: str, name: str) -> str | None:
        """Remove and return a stored value: only one of any number of callers gets it."""
        with reachable():
            found = self._client.getdel(f"{self._prefix}{kind}:{name}")
        return None if found is None else str(found.decode())

    def accounts(self) -> Iterator[str]:
        """Yield the ids of all accounts, in no order; for rotation of keys."""
        lead = f"{self._prefix}{{*}}a:"
        with reachable():
            for key in self._client.scan_iter(match=f"{lead}*", count=1000):
                yield key.decode().partition("}a:")[2]


def _encode(record: ChallengeRecord | Account | None) -> bytes:
    """Return the stored form; empty for None and for an account without data."""
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
