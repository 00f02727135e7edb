"""The audit log: actors, actions, subjects and times, in a file that cannot be changed, reordered or cut unnoticed.

`Audit.record` writes, `verify` checks, `show` reads; the package does not interpret the events.
"""

from access.audit.log import Audit, OccasionalAudit, open_audit
from access.audit.read import Verification, show, verify
from access.audit.record import AuditRecord

__all__ = ["Audit", "AuditRecord", "OccasionalAudit", "Verification", "open_audit", "show", "verify"]
