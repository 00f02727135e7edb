"""Call checks in Redis, each a JSON value that is only ever replaced in one atomic step.

Of shard 3 with prefix `vedette:` — `vedette:call:{3}c:<call id>` is a check, `vedette:call:{3}a:<account id>` the id of
the account's latest; `vedette:call:{3}open` (by end of life) and `…out` (by when it ended) are the queues of checks to
expire and to publish. A check's id begins with its shard.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from alerts.mfa.calls.engine import Call
from alerts.mfa.connection import reachable
from alerts.mfa.records import SHARDS, shard_of
from vedette.clock import DAY
from vedette.errors import StateError

Queue = Literal["open", "out"]

KEPT_MS = 30 * DAY
_HEX = "0123456789abcdef"


class CallStore:
    """The checks. Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See connection.connect.
        prefix: Put before every key.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}call:"
        script = Path(__file__).with_name("calls.lua").read_text(encoding="utf-8")
        self._replace = client.register_script(script)

    def get(self, call_id: str) -> Call | None:
        """A check, or None where there is none."""
        if call_id[:1] not in _HEX or not call_id:
            return None
        value = self._get(self._key(_HEX.index(call_id[0]), f"c:{call_id}"))
        try:
            return msgspec.json.decode(value, type=Call) if value else None
        except msgspec.DecodeError as error:
            raise StateError(f"call check {call_id} cannot be read: {error}") from error

    def latest(self, account_id: str) -> str:
        """Id of an account's latest check; empty without one."""
        return (self._get(self._account(account_id)) or b"").decode()

    def start(self, call: Call, previous: str) -> bool:
        """Store a new check, unless the account's latest is no longer `previous`; whether it was stored."""
        return self._put(None, call, previous)

    def change(self, before: Call, after: Call) -> bool:
        """Store a check, unless it is no longer what it was read as; a settled one is queued to be published."""
        return self._put(before, after, "keep")

    def due(self, queue: Queue, until: int, most: int) -> list[str]:
        """Ids in a queue whose time has come, the earliest first in each shard; `most` of each shard."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for shard in range(SHARDS):
                pipe.zrangebyscore(self._key(shard, queue), "-inf", until, 0, most)
            return [member.decode() for members in pipe.execute() for member in members]

    def forget(self, queue: Queue, call_id: str) -> None:
        """Take a check out of a queue."""
        with reachable():
            self._client.zrem(self._key(_HEX.index(call_id[0]), queue), call_id)

    def _put(self, before: Call | None, after: Call, pointer: str) -> bool:
        shard = shard_of(after.account_id)
        settled = after.settled_at
        with reachable():
            return bool(
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

    def _get(self, key: str) -> bytes | None:
        with reachable():
            found: bytes | None = self._client.get(key)
            return found

    def _account(self, account_id: str) -> str:
        return self._key(shard_of(account_id), f"a:{account_id}")

    def _key(self, shard: int, name: str) -> str:
        return f"{self._prefix}{{{shard}}}{name}"
