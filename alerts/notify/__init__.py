"""Notification: who is told of which incident on which channel, kept in an outbox before anything is sent.

Kafka → `service` → incidents → `dispatch` → `outbox` → `courier` → a channel; `web` takes answers, `bootstrap` wires.
"""

from alerts.notify.bootstrap import listing, retry, run, status
from alerts.notify.outbox import Row, Tally
from alerts.notify.service import Report

__all__ = ["Report", "Row", "Tally", "listing", "retry", "run", "status"]
