"""Call checks in Redis, each a JSON value that is only replaced atomically.

For shard 3 with prefix `vedette:` — `vedette:call:{3}c:<call id>` is a check, `vedette:call:{3}a:<account id>` the id
of the account's latest; `vedette:call:{3}open` (by end of life) and `…out` (by when it ended) are the queues of checks
to expire and to publish. A check's id begins with its shard.
"""

from pathlib import Path
from typing import Any

import msgspec

from adapters.redis import reachable
from challenges.calls.state_machine import Call
from challenges.shards import Shards
from vedette.challenge_ids import shard_of
from vedette.clock import DAY
from vedette.errors import StateError

KEPT_MS = 30 * DAY


class CallStore(Shards):
    """The checks. Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See connection.connect.
        prefix: Prefix of every key.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(client, f"{prefix}call:")
        self._replace = self._script(Path(__file__).with_name("calls.lua"))

    def get(self, call_id: str) -> Call | None:
        """Return a check, or None where there is none."""
        value = self._get(self._item(call_id))
        try:
            return msgspec.json.decode(value, type=Call) if value else None
        except msgspec.DecodeError as error:
            raise StateError(f"call check {call_id} cannot be read: {error}") from error

    def latest(self, account_id: str) -> str:
        """Return the id of an account's latest check; empty without one."""
        return (self._get(self._account(account_id)) or b"").decode()

    def start(self, call: Call, previous: str) -> bool:
        """Store a new check, unless the account's latest is no longer `previous`; return whether it was stored."""
        return self._put(None, call, previous)

    def change(self, before: Call, after: Call) -> bool:
        """Store a check, unless it has changed since it was read; a settled one is queued to be published."""
        return self._put(before, after, "keep")

    def _put(self, before: Call | None, after: Call, pointer: str) -> bool:
        shard = shard_of(after.account_id)
        settled = after.settled_at
        with reachable():
            stored = bool(
                self._replace(
                    keys=[
                        self._key(shard, f"c:{after.call_id}"),
                        self._account(after.account_id),
                        self._key(shard, "open"),
                        self._key(shard, "out"),
                    ],
                    args=[
                        msgspec.json.encode(before) if before else b"",
                        msgspec.json.encode(after),
                        KEPT_MS,
                        pointer,
                        after.call_id,
                        after.expires_at if settled is None else "",
                        "" if settled is None else settled,
                    ],
                )
            )
        if stored and settled is not None:
            self._arrived("out")
        return stored
