"""Monitoring: what no service can say of itself, as metrics, and Prometheus' alerts as messages to the team.

`run(settings)` probes Redis, the consumer groups, the outbox, audit logs, certificates and disks at intervals.
"""

from monitoring.service import run

__all__ = ["run"]
