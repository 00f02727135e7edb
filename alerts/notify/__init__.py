"""Notification: one message per alert, recipient and channel, kept in a ledger before anything is sent.

Kafka → `service` → `ledger` → `courier` → `email` or `sms`; `bootstrap` wires the real parts.
"""

from alerts.notify.bootstrap import run, status
from alerts.notify.ledger import Tally
from alerts.notify.service import Report

__all__ = ["Report", "Tally", "run", "status"]
