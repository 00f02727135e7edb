"""The audit log: who did what to whom and when, in a file that cannot be changed, reordered or cut unnoticed.

`Audit.record` writes, `verify` checks, `show` reads; nothing here knows what the events mean.
"""

from alerts.audit.log import Audit, open_audit
from alerts.audit.read import Verdict, show, verify
from alerts.audit.record import Record

__all__ = ["Audit", "Record", "Verdict", "open_audit", "show", "verify"]
