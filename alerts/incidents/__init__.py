"""Incidents: the alerts of an account that the fraud team works on together, ranked by what may be lost.

The door: `open_incidents(settings)` for people's commands, `actions` for what they do by message or link, and
`store.join` for alerts as they come.
"""

from alerts.incidents.bootstrap import Incidents, open_incidents
from alerts.incidents.incident import Incident, Step

__all__ = ["Incident", "Incidents", "Step", "open_incidents"]
