"""Notification of incidents by channel, through an outbox that stores every message before it is sent.

Kafka → `service` → incidents → `dispatch` → `outbox` → `channel_worker` → a channel; `web` takes replies and receipts.
"""

from alerts.notify.bootstrap import run
from alerts.notify.outbox import MessageCount, OutboxRow
from alerts.notify.outbox_commands import MessageList, NotifierStatus, listing, retry, status
from alerts.notify.service import NotifierReport

__all__ = [
    "MessageCount",
    "MessageList",
    "NotifierReport",
    "NotifierStatus",
    "OutboxRow",
    "listing",
    "retry",
    "run",
    "status",
]
