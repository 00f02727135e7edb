"""Delivery receipts: Twilio's reports on a message after accepting it.

Twilio may report before the outbox knows the message's id, so a receipt is stored separately and applied when both
exist. A message that was accepted and could not be delivered has failed: its incident is escalated at once.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select, update

from adapters.database import insert_new
from alerts.incidents import store
from alerts.tables import messages, receipts

FINAL = ("delivered", "read", "undelivered", "failed")
"""Statuses after which only another final one is accepted (https://www.twilio.com/docs/messaging)."""

_UNDELIVERED = ("undelivered", "failed")
_LONGEST_CODE = 16


def record(connection: Connection, sid: str, status: str, code: str, now: int) -> list[tuple[Any, str]]:
    """Record a receipt, once, and apply it; see `apply` for the result."""
    row = {"sid": sid, "status": status, "code": code[:_LONGEST_CODE], "received_at": now}
    if not (sid and status) or not insert_new(connection, receipts, [row]):
        return []
    return apply(connection, [sid], now)


def apply(connection: Connection, sids: Collection[str], now: int) -> list[tuple[Any, str]]:
    """Update messages with their receipts, and escalate the incidents of undelivered ones.

    Args:
        connection: In a transaction.
        sids: The provider's ids of messages.
        now: Milliseconds since 1970 UTC.

    Returns:
        Rows (id, incident_id, recipient, channel) of messages that turned out to be undelivered, with the error code.
    """
    if not sids:
        return []
    table = messages.c
    query = select(receipts).where(receipts.c.sid.in_(sids)).order_by(receipts.c.received_at)
    last: dict[str, Any] = {}
    for receipt in connection.execute(query):
        previous = last.get(receipt.sid)
        if previous is None or receipt.status in FINAL or previous.status not in FINAL:
            last[receipt.sid] = receipt
    undelivered: list[tuple[Any, str]] = []
    for receipt in last.values():
        values: dict[str, Any] = {"receipt": f"{receipt.status} {receipt.code}".strip()[:32]}
        failed = receipt.status in _UNDELIVERED
        if failed:
            reason = f"the provider accepted the message and could not deliver it: {receipt.status}"
            values |= {"status": "failed", "code": receipt.code or receipt.status, "error": reason, "updated_at": now}
        elif receipt.status in FINAL:  # it was delivered after all
            values |= {"status": "sent", "code": "", "error": ""}
        accepted = (table.provider_id == receipt.sid, table.body.is_(None), table.status.in_(("sent", "failed")))
        found = connection.execute(
            select(table.id, table.status, table.incident_id, table.recipient, table.channel).where(*accepted)
        ).all()
        connection.execute(update(messages).where(*accepted).values(**values))
        if failed:
            undelivered += [(row, receipt.code or receipt.status) for row in found if row.status == "sent"]
    store.escalate_now(connection, {row.incident_id for row, _ in undelivered if row.incident_id}, now)
    return undelivered
