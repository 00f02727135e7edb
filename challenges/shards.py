"""Base of the stores: values and queues in Redis, sharded by hash tags so that one atomic step has all its keys.

For shard 3 with prefix `p:` — `p:{3}c:<id>` is an item, whose id begins with its shard as a hex digit; `p:{3}a:<account
id>` belongs to an account; any other name, as in `p:{3}open`, is a queue of ids in the order of when they are due.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adapters.redis import reachable
from vedette.challenge_ids import SHARDS, shard_of

_HEX = "0123456789abcdef"


class Shards:
    """Keys, reads and queues. Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See connection.connect.
        prefix: Prefix of every key.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._arrivals: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def wait(self, queue: str, timeout_s: float) -> None:
        """Wait until this process has added to a queue since the last call, or the time is over."""
        arrival = self._arrivals[queue]
        arrival.wait(timeout_s)
        arrival.clear()

    def _arrived(self, queue: str) -> None:
        self._arrivals[queue].set()

    def due(self, queue: str, until: int, limit: int) -> list[str]:
        """Return the due members of a queue: the earliest `limit` of each shard, in order."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for shard in range(SHARDS):
                pipe.zrangebyscore(self._key(shard, queue), "-inf", until, 0, limit)
            return [member.decode() for members in pipe.execute() for member in members]

    def forget(self, queue: str, members: Iterable[str]) -> None:
        """Remove members from a queue; a member is an item's id, possibly after a word and a colon."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for member in members:
                pipe.zrem(self._key(_HEX.index(member.rpartition(":")[2][0]), queue), member)
            pipe.execute()

    def postpone(self, queue: str, item_id: str, until: int) -> None:
        """Postpone a queued item."""
        with reachable():
            self._client.zadd(self._key(_HEX.index(item_id[0]), queue), {item_id: until}, xx=True)

    def _script(self, file: Path) -> Any:
        return self._client.register_script(file.read_text(encoding="utf-8"))

    def _get(self, key: str) -> bytes | None:
        with reachable():
            found: bytes | None = self._client.get(key)
            return found

    def _items(self, item_ids: Iterable[str]) -> list[bytes | None]:
        """Return the values of items, in one round trip."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for item_id in item_ids:
                pipe.get(self._item(item_id))
            found: list[bytes | None] = pipe.execute()
            return found

    def _item(self, item_id: str) -> str:
        """Return an item's key; for an invalid id, a key without a value."""
        return self._key(max(0, _HEX.find(item_id[:1])), f"c:{item_id}")

    def _account(self, account_id: str) -> str:
        return self._key(shard_of(account_id), f"a:{account_id}")

    def _key(self, shard: int, name: str) -> str:
        return f"{self._prefix}{{{shard}}}{name}"
