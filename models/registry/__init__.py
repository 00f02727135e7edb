"""The registry: versions of the model with their runs, aliases, approvals and cards, stored in MLflow.

`Registry(settings)` opens it, `models.registry.promotion` changes what is in service, `fetch` returns a version's
folder.
"""

from models.registry.store import Registry, Version, fetch

__all__ = ["Registry", "Version", "fetch"]
