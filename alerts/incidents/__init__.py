"""Incidents: the alerts of an account that the fraud team works on together, ranked by expected loss.

The entry points: `open_incidents(settings)` for the commands, `IncidentDesk` for the console, `actions` for what people
do by message or link, and `store.join` for new alerts.
"""

from alerts.incidents.bootstrap import IncidentDetail, IncidentList, Incidents, open_incidents
from alerts.incidents.desk import BulkResult, CaseDetail, IncidentDesk
from alerts.incidents.incident import HistoryEntry, Incident
from alerts.incidents.queue import Queue, QueueEntry, QueueFilter
from alerts.incidents.work import ClaimedError

__all__ = [
    "BulkResult",
    "CaseDetail",
    "ClaimedError",
    "HistoryEntry",
    "Incident",
    "IncidentDesk",
    "IncidentDetail",
    "IncidentList",
    "Incidents",
    "Queue",
    "QueueEntry",
    "QueueFilter",
    "open_incidents",
]
