"""The registry: versions of the model with their runs, aliases, approvals and cards, kept in MLflow.

`Registry(settings)` opens it, `models.registry.changes` says who is in service, `fetch` gives a version's folder.
"""

from models.registry.store import Registry, Version, fetch

__all__ = ["Registry", "Version", "fetch"]
