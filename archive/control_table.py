"""The control topic as a table: every change of models and policy, whereas the topic keeps only the latest.

A row has the whole record, so a policy that is no longer in force can be applied again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import pyarrow as pa

from archive.columns import PLACE, TIME, US_PER_MS, PublishedMessage, place
from vedette.control import MODELS, POLICY, ControlRecord, Models, PolicyRecord, decode
from vedette.errors import InputError
from vedette.events import MAX_TIME
from vedette.topics import Name

_TEXT = pa.string()
_COLUMNS = (
    pa.field("kind", _TEXT),
    pa.field("changed_at", TIME),
    pa.field("approver", _TEXT),
    pa.field("reason", _TEXT),
    pa.field("policy", _TEXT),
    pa.field("champion", _TEXT),
    pa.field("challenger", _TEXT),
    pa.field("rollout_fraction", pa.float64()),
    pa.field("withdrawn", _TEXT),
    pa.field("record", _TEXT),
)


@dataclass(frozen=True)
class ControlTable:
    """The control topic as a table, see `archive.columns.Table`."""

    topic: Name = Name.CONTROL
    expires: bool = False
    """What was decided long ago by a policy can be proven only as long as the policy is kept."""

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns."""
        return pa.schema([*_COLUMNS, *PLACE])

    def rows(self, messages: Sequence[PublishedMessage]) -> tuple[pa.Table, list[PublishedMessage]]:
        """See `archive.columns.Table`."""
        rows, kept, rejected = [], [], []
        for message in messages:
            record = _record(message.value or b"")
            if record is None:
                rejected.append(message)
            else:
                rows.append(_row(record))
                kept.append(message)
        columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in _COLUMNS}
        columns |= place(kept, columns["changed_at"])
        return pa.table(columns, schema=self.schema), rejected


def _record(value: bytes) -> ControlRecord | None:
    """Return a record of either kind, which have no field in common that the other requires; None if it is neither."""
    for key in (POLICY, MODELS):
        try:
            record = decode(key, value)
        except InputError:
            continue
        return record if 0 <= record.at <= MAX_TIME else None
    return None


def _row(record: ControlRecord) -> dict[str, object]:
    row: dict[str, object] = {
        "changed_at": record.at * US_PER_MS,
        "approver": record.approver,
        "reason": record.reason,
        "record": msgspec.json.encode(record).decode(),
    }
    if isinstance(record, PolicyRecord):
        return row | {"kind": POLICY, "policy": record.name}
    return row | {"kind": MODELS, **_versions(record), "rollout_fraction": record.rollout_fraction}


def _versions(record: Models) -> dict[str, str | None]:
    named = {"champion": record.champion, "challenger": record.challenger, "withdrawn": record.withdrawn}
    return {name: None if ref is None else str(ref) for name, ref in named.items()}
