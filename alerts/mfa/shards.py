"""What the stores share: values and queues in Redis, spread over hash tags so that one atomic step finds all it needs.

Of shard 3 with prefix `p:` — `p:{3}c:<id>` is an item, whose id begins with its shard as a hex digit; `p:{3}a:<account
id>` belongs to an account; any other name, as in `p:{3}open`, is a queue of ids in the order of when they are due.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alerts.mfa.connection import reachable
from alerts.mfa.records import SHARDS, shard_of

_HEX = "0123456789abcdef"


class Shards:
    """Keys, reads and queues. Every method raises UnavailableError when Redis does not answer.

    Args:
        client: See connection.connect.
        prefix: Put before every key.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def due(self, queue: str, until: int, most: int) -> list[str]:
        """Members of a queue whose time has come, the earliest first in each shard; `most` of each shard."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for shard in range(SHARDS):
                pipe.zrangebyscore(self._key(shard, queue), "-inf", until, 0, most)
            return [member.decode() for members in pipe.execute() for member in members]

    def forget(self, queue: str, members: Iterable[str]) -> None:
        """Take members out of a queue; each is an item's id, perhaps behind a word and a colon."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for member in members:
                pipe.zrem(self._key(_HEX.index(member.rpartition(":")[2][0]), queue), member)
            pipe.execute()

    def _script(self, file: Path) -> Any:
        return self._client.register_script(file.read_text(encoding="utf-8"))

    def _get(self, key: str) -> bytes | None:
        with reachable():
            found: bytes | None = self._client.get(key)
            return found

    def _items(self, item_ids: Iterable[str]) -> list[bytes | None]:
        """What the keys of items hold, in one round trip."""
        with reachable():
            pipe = self._client.pipeline(transaction=False)
            for item_id in item_ids:
                pipe.get(self._item(item_id))
            found: list[bytes | None] = pipe.execute()
            return found

    def _item(self, item_id: str) -> str:
        """An item's key; one that holds nothing if this is no item's id."""
        return self._key(max(0, _HEX.find(item_id[:1])), f"c:{item_id}")

    def _account(self, account_id: str) -> str:
        return self._key(shard_of(account_id), f"a:{account_id}")

    def _key(self, shard: int, name: str) -> str:
        return f"{self._prefix}{{{shard}}}{name}"
